// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dump reads all attachments from the kernel, the dying ones included.
func (k *Kernel) Dump() ([]Attachment, error) {
	var all []Attachment
	err := k.do(func(w *worker) error {
		links, err := w.host.links("veth")
		if err != nil {
			return err
		}
		for _, l := range links {
			if a, ours := k.opts.attachment(l); ours && len(a.Addresses) > 0 {
				all = append(all, a)
			}
		}
		return nil
	})
	return all, err
}

// Watch subscribes to interfaces going, then returns all that are there, the
// dying ones included. From then on, until ctx ends, each attachment whose link
// is gone is reported, from one goroutine. A key whose link was replaced by a
// live one is not reported.
func (k *Kernel) Watch(ctx context.Context, onGone func(Attachment)) ([]Attachment, error) {
	var fd int
	err := k.do(func(*worker) (err error) {
		fd, err = subscribe(k.watchBuffer)
		return err
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "netlink")
	all, err := k.Dump()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	w := watch{k: k, file: file, onGone: onGone, known: map[int]Attachment{}}
	for _, a := range all {
		w.known[a.Index] = a
	}
	stop := context.AfterFunc(ctx, func() { _ = file.Close() })
	k.running.Add(1)
	go func() {
		defer k.running.Done()
		defer stop()
		w.run(ctx)
	}()
	go func() { // Close ends a watch too
		select {
		case <-k.closed:
			_ = file.Close()
		case <-ctx.Done():
		}
	}()
	return all, nil
}

// subscribe opens a socket that hears of links, in the thread's namespace.
func subscribe(buffer int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("opening a netlink socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("subscribing to the kernel's news of interfaces: %w", err)
	}
	return fd, nil
}

type watch struct {
	k      *Kernel
	file   *os.File
	onGone func(Attachment)
	known  map[int]Attachment
}

func (w *watch) run(ctx context.Context) {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, receiveSize)
	for ctx.Err() == nil && !w.k.isClosed() {
		n, err := receiveFrom(raw, buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.again(raw, buf)
		case err != nil:
			return // closed
		default:
			// A message that is cut short counts as one that was lost.
			if eachMessage(buf[:n], w.news) != nil {
				w.again(raw, buf)
			}
		}
	}
}

// drain empties the socket. Until it has been empty the kernel drops further
// news without another word: what is read before is no new beginning.
func drain(raw syscall.RawConn, buf []byte) {
	_ = raw.Read(func(fd uintptr) bool {
		for {
			_, _, err := unix.Recvfrom(int(fd), buf, 0)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
				return true
			}
		}
	})
}

// receiveFrom waits for a datagram without holding a thread.
func receiveFrom(raw syscall.RawConn, buf []byte) (n int, err error) {
	outer := raw.Read(func(fd uintptr) bool {
		err = retry(func() (err error) {
			n, _, err = unix.Recvfrom(int(fd), buf, 0)
			return err
		})
		return !errors.Is(err, unix.EAGAIN)
	})
	return n, errors.Join(outer, err)
}

// news takes one message of the subscription.
func (w *watch) news(h unix.NlMsghdr, body []byte) {
	if len(body) < unix.SizeofIfInfomsg || body[0] != unix.AF_UNSPEC {
		return // a bridge's ports are told of in messages of their own
	}
	l := parseLink(body)
	switch h.Type {
	case unix.RTM_NEWLINK:
		if a, ours := w.k.opts.attachment(l); ours && len(a.Addresses) > 0 {
			w.known[l.index] = a
		}
	case unix.RTM_DELLINK:
		a, ours := w.known[l.index]
		if !ours {
			a, ours = w.k.opts.attachment(l)
		}
		if ours && len(a.Addresses) > 0 {
			w.gone(a)
		}
	}
}

// again compares what is known with what is there, after news were lost.
func (w *watch) again(raw syscall.RawConn, buf []byte) {
	drain(raw, buf)
	all, err := w.k.Dump()
	for err != nil {
		if w.k.isClosed() {
			return
		}
		// A machine without memory, or one whose links never stand still.
		<-time.After(retryAfter)
		all, err = w.k.Dump()
	}
	there := map[int]Attachment{}
	for _, a := range all {
		there[a.Index] = a
	}
	before := w.known
	w.known = there
	for index, a := range before {
		if now, still := there[index]; !still || now.HostIf != a.HostIf {
			w.gone(a)
		}
	}
}

// gone reports an attachment, unless an Attach has made it anew: one that is at
// it is waited for.
func (w *watch) gone(a Attachment) {
	delete(w.known, a.Index)
	unlock := w.k.lockPod(a.HostIf)
	_, replaced, err := w.k.Lookup(a.Network, a.Sandbox, a.IfName)
	unlock()
	if replaced && err == nil {
		return
	}
	w.onGone(a)
}
