// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// restartDelay is systemd's for kubelets, shortened.
const restartDelay = time.Second

// run keeps the services running and reaps every orphan of the machine, as a
// first process must. There is no orderly end: machines are switched off.
func (s *Spec) run() error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)

	running, done := map[int]Service{}, map[string]bool{}
	restart := make(chan Service)
	next, waiting := 0, func() bool { return false }
	for {
		for next < len(s.Services) && !waiting() {
			service := s.Services[next]
			if err := start(service, running); err != nil {
				return err
			}
			waiting = func() bool { return service.Once && !done[service.Name] || !accepts(service.Socket) }
			next++
		}
		var poll <-chan time.Time
		if next < len(s.Services) {
			poll = time.After(20 * time.Millisecond)
		}
		select {
		case <-poll:
		case again := <-restart:
			if err := start(again, running); err != nil {
				return err
			}
		case <-children:
			for _, ended := range reap(running, done) {
				time.AfterFunc(restartDelay, func() { restart <- ended })
			}
		}
	}
}

func start(service Service, running map[int]Service) error {
	log, err := os.OpenFile(filepath.Join(logsDir, service.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening a log: %w", err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("starting %s: %w", service.Name, err)
	}
	defer null.Close()
	// Not os/exec: its Wait and the reaping of orphans would take each other's
	// children.
	path := filepath.Join(ProgramsDir, cmp.Or(service.Program, service.Name))
	pid, err := syscall.ForkExec(path, append([]string{path}, service.Args...), &syscall.ProcAttr{
		Dir: "/", Files: []uintptr{null.Fd(), log.Fd(), log.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
		Env: []string{"PATH=" + ProgramsDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/var/lib/root"},
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", service.Name, err)
	}
	running[pid] = service
	return nil
}

// reap collects all children that have ended and returns those that are to be
// started again.
func reap(running map[int]Service, done map[string]bool) (again []Service) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return again
		}
		service, ok := running[pid]
		delete(running, pid)
		switch {
		case !ok: // an orphan
		case service.Once && status.ExitStatus() == 0:
			done[service.Name] = true
		default:
			again = append(again, service)
			fmt.Fprintf(os.Stderr, "%s ended (exit status %d, signal %v): it is started again\n", service.Name, status.ExitStatus(), status.Signal())
		}
	}
}

// accepts says whether somebody listens; there is always room on no socket.
func accepts(socket string) bool {
	if socket == "" {
		return true
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
