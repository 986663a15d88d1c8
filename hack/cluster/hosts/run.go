// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hosts

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"

	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// Do runs f on the namespace's thread: what it opens belongs to the namespace.
func (n *Namespace) Do(f func() error) error { return n.spawner.Do(f) }

// Start starts cmd inside; it dies with the namespace's Close.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.spawner.Start(cmd) }

// Run starts cmd inside and waits for it.
func (n *Namespace) Run(cmd *exec.Cmd) error { return n.spawner.Run(cmd) }

// Command is a command that runs inside, whoever starts it, and under our
// user: nsenter finds the namespace by its path.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.NetNS, "--", name}, args...)...)
}

// StartProcess starts cmd inside, its output appended to the file log.
func (n *Namespace) StartProcess(name, log string, cmd *exec.Cmd) (*processes.Process, error) {
	return processes.StartProcess(n.spawner, name, log, cmd)
}

// ListenPacket opens a socket inside, such as "udp4" on ":7000" or "ip4:icmp".
// It is closed with the namespace at the latest.
func (n *Namespace) ListenPacket(network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := n.Do(func() (err error) {
		conn, err = net.ListenPacket(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening in %s: %w", n.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		conn.Close()
		return nil, fmt.Errorf("listening in %s: %w", n.Name, errClosed)
	}
	n.sockets = append(n.sockets, conn)
	return conn, nil
}

// Forward passes connections from the switch's address on to a server in the
// caller's own namespace: the loopback's API server, as the hosts see it.
type Forward struct {
	// Address is what hosts connect to.
	Address netip.AddrPort

	listener net.Listener
	target   string

	mu     sync.Mutex
	conns  map[net.Conn]bool
	cut    bool
	closed bool
}

// Forward listens on the switch's IPv4 address for hosts and connects them to
// target.
func (n *Net) Forward(target netip.AddrPort) (*Forward, error) {
	f := &Forward{target: target.String(), conns: map[net.Conn]bool{}}
	err := n.space.Do(func() (err error) {
		f.listener, err = net.Listen("tcp", netip.AddrPortFrom(n.Address, 0).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening on the switch: %w", err)
	}
	f.Address = f.listener.Addr().(*net.TCPAddr).AddrPort()
	n.mu.Lock()
	n.forwards = append(n.forwards, f)
	n.mu.Unlock()
	go f.accept()
	return f, nil
}

func (f *Forward) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		go f.serve(conn)
	}
}

func (f *Forward) serve(client net.Conn) {
	server, err := net.Dial("tcp", f.target)
	if err != nil {
		client.Close()
		return
	}
	if !f.hold(client, server) {
		client.Close()
		server.Close()
		return
	}
	var copying sync.WaitGroup
	for _, pair := range [][2]net.Conn{{server, client}, {client, server}} {
		copying.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			// Either end's going ends both ways.
			client.Close()
			server.Close()
		})
	}
	copying.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, client)
	delete(f.conns, server)
}

func (f *Forward) hold(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut || f.closed {
		return false
	}
	for _, c := range conns {
		f.conns[c] = true
	}
	return true
}

// Cut breaks all connections and refuses new ones: the hosts reach each other,
// but not the server.
func (f *Forward) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = true
	for c := range f.conns {
		c.Close()
	}
}

// Heal lets connections through again.
func (f *Forward) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = false
}

// Close ends it.
func (f *Forward) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.listener.Close()
	f.Cut()
}
