// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultPatience = 2 * time.Second
	// padding fills messages up to a size.
	padding = "."
)

type asker struct {
	size     int
	patience time.Duration
}

// ask sends one message and returns "NAME ASKER".
func (a *asker) ask(ctx context.Context, network, address string) (string, error) {
	conn, err := dial(ctx, network, address, a.patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(a.patience)); err != nil {
		return "", err
	}
	message := strings.Repeat(padding, max(a.size, 1))
	if network == "tcp" {
		message += "\n"
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return "", fmt.Errorf("sending %d bytes to %s: %w", len(message), address, err)
	}
	answer, err := read(network, bufio.NewReaderSize(conn, largest))
	if err != nil {
		return "", fmt.Errorf("%s does not answer over %s: %w", address, network, err)
	}
	if len(answer) < a.size {
		return "", fmt.Errorf("%s answered %d bytes to %d", address, len(answer), a.size)
	}
	return strings.TrimRight(strings.TrimSuffix(answer, "\n"), padding+" "), nil
}

// dial connects, and forbids fragmentation: a datagram that is too large for
// the path fails, as it should with a right MTU.
func dial(ctx context.Context, network, address string, patience time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
			if domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_INET6 {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}}
	return dialer.DialContext(ctx, network, address)
}

func read(network string, from *bufio.Reader) (string, error) {
	if network == "tcp" {
		return from.ReadString('\n')
	}
	buffer := make([]byte, largest)
	n, err := from.Read(buffer)
	return string(buffer[:n]), err
}
