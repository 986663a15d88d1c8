// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hosts

import (
	"context"
	"fmt"
	"net"
	"os/exec"

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

// Dial connects from inside the namespace.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	// A socket belongs to the namespace of the thread that makes it.
	err = n.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
