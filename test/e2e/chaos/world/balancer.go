// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// dialTimeout is how long a server may take to accept before the next is tried.
const dialTimeout = time.Second

// balance listens on the loopback and connects each client to an API server,
// preferably to the given one: a load balancer that looks at connections alone.
func (w *World) balance(prefer int) (netip.AddrPort, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listening for the API servers' clients: %w", err)
	}
	w.closing = append(w.closing, func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go w.join(client, prefer)
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort(), nil
}

func (w *World) join(client net.Conn, prefer int) {
	defer client.Close()
	for i := range w.backends {
		server, err := net.DialTimeout("tcp", w.backends[(prefer+i)%len(w.backends)].String(), dialTimeout)
		if err != nil {
			continue
		}
		defer server.Close()
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
		return
	}
}
