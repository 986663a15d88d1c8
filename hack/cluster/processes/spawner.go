// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package processes starts programs that die with the program that started
// them, wherever in the machine's namespaces they run.
package processes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spawner owns one operating system thread. What it runs, runs on that thread
// and in its namespaces; what it starts is killed when the thread ends.
//
// The kernel's parent-death signal comes when the *thread* that forked dies,
// and Go ends threads as it sees fit (a goroutine that exits while locked takes
// its thread along). So nothing is forked from a thread of the scheduler's.
type Spawner struct {
	jobs chan job
	done chan struct{}
}

type job struct {
	run    func() error
	answer chan error
}

// ErrClosed answers jobs that come after Close.
var ErrClosed = errors.New("spawner is closed")

// NewSpawner starts a thread in the caller's namespaces and runs the given
// steps on it first, such as EnterNet; if one fails there is no spawner.
func NewSpawner(steps ...func() error) (*Spawner, error) {
	s := &Spawner{jobs: make(chan job), done: make(chan struct{})}
	ready := make(chan error)
	go s.loop(steps, ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Spawner) loop(steps []func() error, ready chan<- error) {
	// Never unlocked: the thread has namespaces of its own, so it must end
	// with this goroutine instead of going back to the scheduler.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The process's first thread never ends: Go parks it. While it is
		// locked here, the next goroutine gets another.
		s.elsewhere(steps, ready)
		return
	}
	defer close(s.done)
	for _, step := range steps {
		if err := step(); err != nil {
			ready <- err
			return
		}
	}
	ready <- nil
	for j := range s.jobs {
		if j.run == nil {
			j.answer <- nil
			return
		}
		j.answer <- j.run()
	}
}

func (s *Spawner) elsewhere(steps []func() error, ready chan<- error) {
	locked := make(chan struct{})
	tell := func() error { close(locked); return nil }
	go s.loop(append([]func() error{tell}, steps...), ready)
	<-locked
	runtime.UnlockOSThread()
}

// Do runs f on the spawner's thread, one at a time. A socket that f opens
// belongs to the thread's network namespace for ever, whoever uses it later.
func (s *Spawner) Do(f func() error) error {
	j := job{run: f, answer: make(chan error, 1)}
	select {
	case s.jobs <- j:
		return <-j.answer
	case <-s.done:
		return ErrClosed
	}
}

// Start starts cmd in the thread's namespaces, in a process group of its own
// (so that a terminal's Ctrl-C reaches us alone), to be killed with the thread.
func (s *Spawner) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	return s.Do(cmd.Start)
}

// Run starts cmd and waits for it.
func (s *Spawner) Run(cmd *exec.Cmd) error {
	if err := s.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Close ends the thread, and with it everything that Start started.
func (s *Spawner) Close() {
	select {
	case s.jobs <- job{answer: make(chan error, 1)}:
	case <-s.done:
	}
	<-s.done
}

// EnterNet moves the calling thread into a network namespace: a step for
// NewSpawner.
func EnterNet(ns *os.File) func() error {
	return func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the network namespace %s: %w", ns.Name(), err)
		}
		return nil
	}
}

// NewNet makes a network namespace that nothing but the returned file (and what
// runs inside) keeps alive: it has no name, so nothing is left over however the
// program ends.
func NewNet() (*os.File, error) {
	var file *os.File
	s, err := NewSpawner(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace (it takes root, or a user namespace: unshare -Ur): %w", err)
		}
		file, err = openNet()
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Close()
	return file, nil
}

// nextDescriptor spreads namespaces over high descriptor numbers, so that a
// path given out by NetPath does not soon come to mean another namespace.
var nextDescriptor atomic.Uint32

const firstDescriptor = 256

func openNet() (*os.File, error) {
	const path = "/proc/thread-self/ns/net"
	low, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a network namespace: %w", err)
	}
	defer low.Close()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("asking how many files may be open: %w", err)
	}
	span := min(max(limit.Cur, 2*firstDescriptor)-firstDescriptor, 1<<16)
	at := firstDescriptor + uint64(nextDescriptor.Add(1))%span
	fd, err := unix.FcntlInt(low.Fd(), unix.F_DUPFD_CLOEXEC, int(at))
	if err != nil {
		return nil, fmt.Errorf("keeping a network namespace open: %w", err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// NetPath is the path under which every process of the machine can open the
// namespace while this process lives and has the file open.
func NetPath(ns *os.File) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
}
