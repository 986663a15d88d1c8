// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// start serves on a free port of the loopback device.
func start(t *testing.T) string {
	t.Helper()
	for range 100 {
		probe, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := probe.Addr().String()
		probe.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serve(ctx, address, "me") }()
		a := asker{patience: 50 * time.Millisecond}
		for range 100 {
			if _, err = a.ask(ctx, "tcp", address); err == nil {
				t.Cleanup(func() { cancel(); <-done })
				return address
			}
		}
		cancel()
		<-done
	}
	t.Fatal("no port was free")
	return ""
}

func TestAsk(t *testing.T) {
	address := start(t)
	for _, network := range []string{"tcp", "udp"} {
		for _, size := range []int{0, 1, 1400} {
			a := asker{size: size, patience: 10 * time.Second}
			if got, err := a.ask(t.Context(), network, address); err != nil || got != "me 127.0.0.1" {
				t.Errorf("%s, %d bytes: %q, %v", network, size, got, err)
			}
		}
	}
}

// A flow that is told to end does not end before who told it.
func TestFlowOutlivesItsTeller(t *testing.T) {
	stop := filepath.Join(t.TempDir(), "enough")
	f := flow{rate: 100, stop: stop, grace: 10 * time.Second}
	teller, err := tell(stop)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	address := start(t)
	go func() { ended <- f.run(t.Context(), "udp", address, io.Discard) }()
	select {
	case err := <-ended:
		t.Fatalf("it ended first: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := unix.Close(teller); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFlow(t *testing.T) {
	address := start(t)
	for _, network := range []string{"tcp", "udp"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		var out bytes.Buffer
		f := flow{rate: 200, grace: 10 * time.Second}
		if err := f.run(ctx, network, address, &out); err != nil {
			t.Error(err)
		}
		cancel()
		var r report
		_, last, _ := strings.Cut(out.String(), "\n")
		if err := json.Unmarshal([]byte(last), &r); err != nil || r.Sent < 10 || r.Answered != r.Sent || len(r.Who) != 1 || r.Who[0] != "me" {
			t.Errorf("%s: %+v %v", network, r, err)
		}
	}
}
