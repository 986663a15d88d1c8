// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package processes

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func newSpawner(t *testing.T, steps ...func() error) *Spawner {
	t.Helper()
	s, err := NewSpawner(steps...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestProcessesDieWithTheirSpawner(t *testing.T) {
	s := newSpawner(t)
	p, err := StartProcess(s, "sleep", filepath.Join(t.TempDir(), "log"), exec.Command("sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	select {
	case <-p.Done():
	case <-time.After(30 * time.Second):
		p.Kill()
		t.Fatal("the process outlived its spawner")
	}
	if err := s.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("a job after Close: got %v, want ErrClosed", err)
	}
}

// Goroutines that end while locked take their threads along: children of those
// threads would die with them.
func TestProcessesOutliveOtherThreads(t *testing.T) {
	s := newSpawner(t)
	p, err := StartProcess(s, "sleep", filepath.Join(t.TempDir(), "log"), exec.Command("sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	for range 64 { // of many, some run on whatever thread there is
		ended := make(chan struct{})
		go func() { runtime.LockOSThread(); close(ended) }()
		<-ended
	}
	if !p.Running() {
		t.Fatal("the process died with another thread")
	}
	p.Stop(30 * time.Second)
	if p.Running() {
		t.Fatal("Stop returned while it runs")
	}
}

func TestLogKeepsTheEnd(t *testing.T) {
	s := newSpawner(t)
	p, err := StartProcess(s, "printer", filepath.Join(t.TempDir(), "log"), exec.Command("sh", "-c", "echo one; echo two >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Wait(ctx); err == nil {
		t.Error("exit code 3 is no error")
	}
	if got := p.Tail(1); got != "two" {
		t.Errorf("the last line: %q, want two", got)
	}
	if got := p.Failure().Error(); !strings.Contains(got, "exit status 3") || !strings.Contains(got, "one\ntwo") {
		t.Errorf("the failure hides what happened: %s", got)
	}
}

func TestNamespacesAreEnteredByTheThreadAlone(t *testing.T) {
	requireRoot(t)
	ns, err := NewNet()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	s := newSpawner(t, EnterNet(ns))
	out := &strings.Builder{}
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	cmd.Stdout = out
	if err := s.Run(cmd); err != nil {
		t.Fatal(err)
	}
	want, err := os.Readlink(NetPath(ns))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != want {
		t.Errorf("the child is in %s, want %s", got, want)
	}
	if here, _ := os.Readlink("/proc/self/ns/net"); here == want {
		t.Error("the test itself has moved")
	}
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: making network namespaces takes root. Run as root, or in a user namespace: unshare -Urm go test ./...")
	}
}
