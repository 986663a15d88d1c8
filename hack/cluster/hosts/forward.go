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
	"sync"
)

// Forward passes connections on between the caller's own namespace and the
// switch's: nothing else connects the two.
type Forward struct {
	// Address is what clients connect to.
	Address netip.AddrPort

	listener net.Listener
	dial     func() (net.Conn, error)

	mu     sync.Mutex
	conns  map[net.Conn]bool
	cut    bool
	closed bool
}

// Forward listens on the switch's IPv4 address for hosts and connects them to
// target in the caller's own namespace: the loopback's API server, as the hosts
// see it.
func (n *Net) Forward(target netip.AddrPort) (*Forward, error) {
	f := &Forward{dial: func() (net.Conn, error) { return net.Dial("tcp", target.String()) }}
	err := n.space.Do(func() error { return f.listen(n.Address) })
	if err != nil {
		return nil, fmt.Errorf("listening on the switch: %w", err)
	}
	return n.keep(f), nil
}

// Publish is the other way round: it listens on the caller's loopback and
// connects to target as seen from the switch.
func (n *Net) Publish(target netip.AddrPort) (*Forward, error) {
	f := &Forward{dial: func() (net.Conn, error) { return n.space.Dial(context.Background(), "tcp", target.String()) }}
	if err := f.listen(netip.AddrFrom4([4]byte{127, 0, 0, 1})); err != nil {
		return nil, fmt.Errorf("publishing %s: %w", target, err)
	}
	return n.keep(f), nil
}

func (f *Forward) listen(address netip.Addr) (err error) {
	f.conns = map[net.Conn]bool{}
	f.listener, err = net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
	if err == nil {
		f.Address = f.listener.Addr().(*net.TCPAddr).AddrPort()
	}
	return err
}

func (n *Net) keep(f *Forward) *Forward {
	n.mu.Lock()
	n.forwards = append(n.forwards, f)
	n.mu.Unlock()
	go f.accept()
	return f
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
	server, err := f.dial()
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
