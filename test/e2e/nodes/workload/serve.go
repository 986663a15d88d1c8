// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// largest is the longest message.
const largest = 64 << 10

// serve answers each line over TCP, and each datagram, with
//
//	NAME ASKER REST-OF-THE-MESSAGE
//
// where ASKER is the address that it came from.
func serve(ctx context.Context, address, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	datagrams, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	done := make(chan error, 2)
	go func() { done <- serveStreams(listener, name) }()
	go func() { done <- serveDatagrams(datagrams, name) }()
	select {
	case <-ctx.Done():
	case err = <-done:
	}
	return errors.Join(err, listener.Close(), datagrams.Close())
}

func serveStreams(listener net.Listener, name string) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			lines.Buffer(nil, largest)
			for lines.Scan() {
				if _, err := fmt.Fprintln(conn, reply(name, conn.RemoteAddr(), lines.Text())); err != nil {
					return
				}
			}
		}()
	}
}

func serveDatagrams(conn net.PacketConn, name string) error {
	buffer := make([]byte, largest)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		// The answer may be refused by the kernel, as when the asker is gone.
		_, _ = conn.WriteTo([]byte(reply(name, from, string(buffer[:n]))), from)
	}
}

// reply is as long as what was asked, if that was long enough.
func reply(name string, from net.Addr, message string) string {
	host, _, err := net.SplitHostPort(from.String())
	if err != nil {
		host = from.String()
	}
	head := fmt.Sprintf("%s %s ", name, host)
	if len(message) > len(head) && strings.Trim(message, padding) == "" {
		return head + message[len(head):]
	}
	return head + message
}
