// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// Kernel is what the server needs of the datapath.
type Kernel interface {
	Attach(datapath.AttachRequest) (datapath.Interfaces, error)
	Detach(network, sandbox, ifname string) error
	Lookup(network, sandbox, ifname string) (datapath.Attachment, bool, error)
	Check(datapath.Attachment) error
	Dump() ([]datapath.Attachment, error)
}

// Config is what a server is made of. Ledger and Kernel are required.
type Config struct {
	Ledger *addresses.Ledger
	Kernel Kernel
	// Families are those in which a pod must get an address; nil or 0 is every
	// family that the peer has ranges of.
	Families func() addresses.Families
	// Health is nil when STATUS shall succeed, or else the reason: an error takes
	// the node's pods out of Services, so it means that the peer never joined or
	// is fenced, not that the API server is away.
	Health  func() error
	Log     *slog.Logger
	Metrics *Metrics
}

// Server answers the CNI plugin.
type Server struct {
	config Config
	turns  *turns
}

const (
	// patience bounds how long a client may take to send its request, and how
	// long it may take to fetch the reply.
	patience = 10 * time.Second
	// atOnce bounds the calls that are carried out at the same time. The kernel
	// takes one change of links at a time, so more would only wait there.
	atOnce = 16
)

// New returns a server.
func New(config Config) *Server {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{config: config, turns: newTurns()}
}

// Listen makes the socket, for root alone. It takes the place of one that an
// earlier agent left behind in one step.
func Listen(path string) (net.Listener, error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the CNI socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("the CNI socket: %w", err)
	}
	// The next agent's socket has the same name: it is not this one's to remove.
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("the CNI socket: %w", err), listener.Close())
	}
	return listener, nil
}

// Serve answers calls until ctx ends, then finishes those it has taken.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				continue
			}
			return fmt.Errorf("the CNI socket: %w", err)
		}
		wg.Go(func() { s.serve(conn, slots) })
	}
}

func (s *Server) serve(conn net.Conn, slots chan struct{}) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := onlyRoot(conn); err != nil {
		s.reject(conn, err)
		return
	}
	call, err := receive(conn)
	if err != nil {
		s.reject(conn, fail(codeDecode, "the call on the agent's socket cannot be read: %v", err))
		return
	}
	slots <- struct{}{}
	reply := s.Handle(call)
	<-slots
	_ = conn.SetDeadline(time.Now().Add(patience))
	s.answer(conn, reply)
}

// reject answers a call that is not carried out.
func (s *Server) reject(conn net.Conn, err error) {
	s.config.Log.Warn("a call on the CNI socket was rejected", "error", err)
	s.answer(conn, wire.Reply{Exit: 1, Stdout: errorBody(err, newest)})
	// To close what the client is still sending to would tear the answer away.
	_, _ = io.CopyN(io.Discard, conn, wire.MaxBody)
}

func (s *Server) answer(conn net.Conn, reply wire.Reply) {
	frame, err := wire.AppendReply(nil, reply)
	if err == nil {
		_, err = conn.Write(frame)
	}
	if err != nil {
		s.config.Log.Info("the CNI plugin did not wait for its answer", "error", err)
	}
}

// Handle carries out one call.
func (s *Server) Handle(call wire.Request) wire.Reply {
	start := time.Now()
	r, cniErr := parse(call)
	var body []byte
	var err error
	if cniErr != nil {
		err = cniErr
	} else {
		body, err = s.do(&r)
	}
	result := "ok"
	reply := wire.Reply{Stdout: body}
	if err != nil {
		result = strconv.FormatUint(uint64(coded(err).Code), 10)
		reply = wire.Reply{Exit: 1, Stdout: errorBody(err, r.version)}
		s.config.Log.Warn("a CNI call failed", "verb", verb(call.Command), "attachment", r.key.String(), "pod", r.pod, "error", err)
	}
	s.config.Metrics.observe(verb(call.Command), result, time.Since(start))
	return reply
}

// verb keeps what a stranger sends out of the metrics' labels.
func verb(command string) string {
	switch command {
	case "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION":
		return command
	}
	return "other"
}

// receive reads one frame.
func receive(conn net.Conn) (wire.Request, error) {
	var header [wire.HeaderSize]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return wire.Request{}, err
	}
	size, err := wire.BodySize(header)
	if err != nil {
		return wire.Request{}, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(conn, body); err != nil {
		return wire.Request{}, err
	}
	return wire.ParseRequest(body)
}

// onlyRoot refuses every other user. The socket's mode does that already,
// unless somebody changes it.
func onlyRoot(conn net.Conn) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return fail(codeEnvironment, "the CNI socket is no unix socket")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, peerErr); err != nil {
		return err
	}
	if peer.Uid != 0 {
		return fail(codeEnvironment, "only root may call the agent, this is user %d", peer.Uid)
	}
	return nil
}
