// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// split takes a frame apart as a reader of the socket does.
func split(frame []byte) ([]byte, error) {
	if len(frame) < wire.HeaderSize {
		return nil, wire.ErrBroken
	}
	n, err := wire.BodySize([wire.HeaderSize]byte(frame))
	if err != nil {
		return nil, err
	}
	if body := frame[wire.HeaderSize:]; len(body) == n {
		return body, nil
	}
	return nil, wire.ErrBroken
}

func TestRoundTrip(t *testing.T) {
	want := wire.Request{Command: "ADD", ContainerID: "c1", NetNS: "/run/netns/x", IfName: "eth0", Args: "A=b", Stdin: []byte(`{"name":"n"}`)}
	frame, err := wire.AppendRequest(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	body, err := split(frame)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ParseRequest(body)
	if err != nil || got.Command != want.Command || got.ContainerID != want.ContainerID || got.NetNS != want.NetNS ||
		got.IfName != want.IfName || got.Args != want.Args || !bytes.Equal(got.Stdin, want.Stdin) {
		t.Errorf("got %+v, %v", got, err)
	}
	for cut := range frame {
		if _, err := split(frame[:cut]); err == nil {
			t.Errorf("a frame cut to %d bytes was taken", cut)
		}
	}
	for cut := range body {
		if _, err := wire.ParseRequest(body[:cut]); !errors.Is(err, wire.ErrBroken) {
			t.Errorf("a body cut to %d bytes: %v", cut, err)
		}
	}
	if _, err := wire.ParseRequest(append(body, 0)); !errors.Is(err, wire.ErrBroken) {
		t.Errorf("a body with a byte too many: %v", err)
	}
}

func TestReply(t *testing.T) {
	frame, err := wire.AppendReply(nil, wire.Reply{Exit: 1, Stdout: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	body, err := split(frame)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wire.ParseReply(body); err != nil || got.Exit != 1 || string(got.Stdout) != "{}" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := wire.ParseReply(nil); !errors.Is(err, wire.ErrBroken) {
		t.Errorf("an empty reply: %v", err)
	}
}

func TestTooLargeOrForeign(t *testing.T) {
	if _, err := wire.AppendRequest(nil, &wire.Request{Stdin: make([]byte, wire.MaxBody)}); !errors.Is(err, wire.ErrLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := wire.AppendReply(nil, wire.Reply{Stdout: make([]byte, wire.MaxBody)}); !errors.Is(err, wire.ErrLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := wire.BodySize([8]byte{'S', 'L', 'V', '1', 0xff}); !errors.Is(err, wire.ErrLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := wire.BodySize([8]byte{'G', 'E', 'T', ' ', '/'}); !errors.Is(err, wire.ErrMagic) {
		t.Errorf("got %v", err)
	}
}

// FuzzRequest: whatever is read is written back as the same bytes.
func FuzzRequest(f *testing.F) {
	seed, _ := wire.AppendRequest(nil, &wire.Request{Command: "DEL", Stdin: []byte("{}")})
	f.Add(seed)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("SLV1\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		body, err := split(frame)
		if err != nil {
			return
		}
		r, err := wire.ParseRequest(body)
		if err != nil {
			return
		}
		again, err := wire.AppendRequest(nil, &r)
		if err != nil || !bytes.Equal(again, frame) {
			t.Errorf("%q became %q, %v", frame, again, err)
		}
	})
}

// FuzzReply is the same for what the plugin reads.
func FuzzReply(f *testing.F) {
	seed, _ := wire.AppendReply(nil, wire.Reply{Exit: 1, Stdout: []byte("{}")})
	f.Add(seed)
	f.Fuzz(func(t *testing.T, frame []byte) {
		body, err := split(frame)
		if err != nil {
			return
		}
		r, err := wire.ParseReply(body)
		if err != nil {
			return
		}
		again, err := wire.AppendReply(nil, r)
		if err != nil || !bytes.Equal(again, frame) {
			t.Errorf("%q became %q, %v", frame, again, err)
		}
	})
}
