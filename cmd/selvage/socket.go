// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"syscall"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// readInput reads standard input to its end.
func readInput() ([]byte, error) {
	buf := make([]byte, 0, 4<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := read(0, buf[len(buf):cap(buf)])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return buf, nil
		}
		if buf = buf[:len(buf)+n]; len(buf) > wire.MaxBody {
			return nil, wire.ErrLarge
		}
	}
}

// dial connects to the agent's socket.
func dial(path string) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	timeout := syscall.Timeval{Sec: patience}
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout)
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &timeout)
	for {
		if err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err == nil {
			return fd, nil
		}
		if err != syscall.EINTR {
			_ = syscall.Close(fd)
			return -1, err
		}
	}
}

// pause lets 20 ms go by.
func pause() {
	span := syscall.Timespec{Nsec: 20e6}
	_ = syscall.Nanosleep(&span, nil)
}

// exchange sends the request and reads the reply.
func exchange(fd int, frame []byte) (wire.Reply, error) {
	if err := writeAll(fd, frame); err != nil {
		return wire.Reply{}, err
	}
	var header [wire.HeaderSize]byte
	if err := readFull(fd, header[:]); err != nil {
		return wire.Reply{}, err
	}
	size, err := wire.BodySize(header)
	if err != nil {
		return wire.Reply{}, err
	}
	body := make([]byte, size)
	if err := readFull(fd, body); err != nil {
		return wire.Reply{}, err
	}
	return wire.ParseReply(body)
}

func readFull(fd int, buf []byte) error {
	for len(buf) > 0 {
		n, err := read(fd, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return wire.Error("the agent ended while it was at it")
		}
		buf = buf[n:]
	}
	return nil
}

func read(fd int, buf []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, buf)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func writeAll(fd int, buf []byte) error {
	for len(buf) > 0 {
		n, err := syscall.Write(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		buf = buf[n:]
	}
	return nil
}
