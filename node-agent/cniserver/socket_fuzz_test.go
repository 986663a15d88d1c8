// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// FuzzSocket: whatever is sent to the agent's socket, and wherever the sender
// hangs up, there is one answer of the specification's form; no address is held
// without an interface; and the next call is served.
func FuzzSocket(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Fatal("NOT RUN: the socket answers root alone, and this test must be run as root")
	}
	path := filepath.Join(f.TempDir(), "cni.sock")
	listener, err := cniserver.Listen(path)
	if err != nil {
		f.Fatal(err)
	}
	s := newServer(f)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, listener) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
	for _, r := range []wire.Request{request("ADD", "a"), request("DEL", "a"), request("STATUS", ""), {Command: "GC", Stdin: []byte("{}")}} {
		frame, _ := wire.AppendRequest(nil, &r)
		f.Add(frame)
		f.Add(frame[:len(frame)/2])
		f.Add(append(frame, frame...))
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("SLV1\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		reply := send(t, path, sent)
		if reply.Exit != 0 {
			var e struct {
				Code uint
				Msg  string
			}
			if json.Unmarshal(reply.Stdout, &e) != nil || e.Code == 0 || e.Msg == "" {
				t.Errorf("not an error of CNI's: %q", reply.Stdout)
			}
		} else if len(reply.Stdout) > 0 && !json.Valid(reply.Stdout) {
			t.Errorf("not JSON: %q", reply.Stdout)
		}
		if held := len(s.ledger.Keys()); held != len(s.kernel.links) {
			t.Errorf("%d attachments hold addresses, and there are %d links", held, len(s.kernel.links))
		}
		for _, k := range s.ledger.Keys() {
			again := wire.Request{Command: "DEL", ContainerID: k.Sandbox, IfName: k.IfName}
			again.Stdin, _ = json.Marshal(map[string]string{"cniVersion": "1.1.0", "name": k.Network})
			frame, err := wire.AppendRequest(nil, &again)
			if err != nil {
				t.Fatal(err)
			}
			if reply := send(t, path, frame); reply.Exit != 0 {
				t.Errorf("the next call: %s", reply.Stdout)
			}
		}
	})
}

// send sends bytes as a client does that hangs up after them, and reads the one
// answer.
func send(t *testing.T, path string, sent []byte) wire.Reply {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	// The server may answer, and close, before it has been sent all.
	_, _ = conn.Write(sent)
	_ = conn.(*net.UnixConn).CloseWrite()
	var header [wire.HeaderSize]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	size, err := wire.BodySize(header)
	if err != nil {
		t.Fatalf("%q: %v", header, err)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatalf("no whole answer: %v", err)
	}
	reply, err := wire.ParseReply(body)
	if err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	// Nothing else comes. Who sent more than the one call is cut off.
	if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("behind the answer: %q, %v", rest, err)
	}
	return reply
}
