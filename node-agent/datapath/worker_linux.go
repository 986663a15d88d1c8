// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A worker is an operating-system thread of its own with an open socket in the
// host's network namespace. It may step into a pod's to open a socket there;
// entering namespaces on Go's shared threads would cost a thread a pod.
type worker struct {
	hostNS int
	host   *socket
	// lost: the thread could not return to the host's namespace, and must end.
	lost bool
}

type job struct {
	run  func(*worker) error
	done chan error
}

// workers is how many pods are worked on at once. The kernel has one lock for
// most of it.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

// startWorker returns when the worker is ready, or failed to become so.
func (k *Kernel) startWorker() error {
	ready := make(chan error)
	k.running.Add(1)
	go func() {
		defer k.running.Done()
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		w := &worker{hostNS: k.hostNS}
		err := unix.Setns(w.hostNS, unix.CLONE_NEWNET)
		if err != nil {
			ready <- fmt.Errorf("entering network namespaces takes the capability CAP_SYS_ADMIN: %w", err)
			return
		}
		if w.host, err = openSocket(); err != nil {
			ready <- err
			return
		}
		defer w.host.close()
		ready <- nil
		k.serve(w)
	}()
	return <-ready
}

// serve does jobs until the kernel is closed or the thread is of no more use.
func (k *Kernel) serve(w *worker) {
	for {
		select {
		case j := <-k.jobs:
			j.done <- j.run(w)
		case <-k.closed:
			return
		}
		if w.lost {
			k.running.Add(1)
			go k.replaceWorker()
			return
		}
	}
}

// replaceWorker starts another in the place of a lost one, for as long as that
// takes: Set counts on there being two.
func (k *Kernel) replaceWorker() {
	defer k.running.Done()
	for k.startWorker() != nil {
		select {
		case <-time.After(retryAfter):
		case <-k.closed:
			return
		}
	}
}

// do has a worker run f and waits for it.
func (k *Kernel) do(f func(*worker) error) error {
	j := job{run: f, done: make(chan error, 1)}
	select {
	case k.jobs <- j:
		return <-j.done
	case <-k.closed:
		return fmt.Errorf("the datapath is closed")
	}
}

// inside opens a socket in another network namespace, calls f with it, and
// closes it. Only the opening happens inside.
func (w *worker) inside(ns int, f func(*socket) error) error {
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the pod's network namespace: %w", err)
	}
	s, err := openSocket()
	if e := unix.Setns(w.hostNS, unix.CLONE_NEWNET); e != nil {
		w.lost = true
		if err == nil {
			s.close()
		}
		return fmt.Errorf("returning to the host's network namespace: %w", e)
	}
	if err != nil {
		return err
	}
	defer s.close()
	return f(s)
}
