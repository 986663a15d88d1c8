// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets up start this test as the daemon.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
		return
	}
	os.Exit(m.Run())
}

func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	out := &strings.Builder{}
	cmd := newCommand()
	cmd.SetArgs(append([]string{"--dir=" + dir}, args...))
	cmd.SetOut(out)
	cmd.SetErr(out)
	err := cmd.ExecuteContext(context.Background()) // also for cleaning up, when the test's own is over
	return out.String(), err
}

func mustRun(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := run(t, dir, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestUpAndDownTwiceAndAfterAKill(t *testing.T) {
	dir := t.TempDir()
	if _, err := run(t, dir, "status"); err == nil || !strings.Contains(err.Error(), "cluster up") {
		t.Errorf("status of nothing: %v, want an error that says how to begin", err)
	}
	t.Cleanup(func() { mustRun(t, dir, "down") })
	for range 2 {
		mustRun(t, dir, "up")
		if out := mustRun(t, dir, "up"); !strings.Contains(out, "already") {
			t.Errorf("up, when it is: %s", out)
		}
		if out := mustRun(t, dir, "status"); !strings.Contains(out, "ok") {
			t.Errorf("status: %s", out)
		}
		mustRun(t, dir, "down")
		if out := mustRun(t, dir, "down"); !strings.Contains(out, "already") {
			t.Errorf("down, when it is: %s", out)
		}
	}
	mustRun(t, dir, "up")
	c := &cluster{dir: dir}
	pid, err := c.lockHolder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(using(t, dir)) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("after a kill -9 of the daemon these still run: %s", using(t, dir))
		}
		<-time.After(50 * time.Millisecond)
	}
	if _, err := run(t, dir, "status"); err == nil {
		t.Error("status says up after a kill -9")
	}
	mustRun(t, dir, "up")
	st, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	if holder, err := c.lockHolder(t.Context()); err != nil || st.PID != holder {
		t.Errorf("up believed the state of process %d, but %d holds the lock (%v)", st.PID, holder, err)
	}
}

// Who started the daemon may be gone before it is ready: the next one waits for
// the same daemon.
func TestUpWhileItIsBooting(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { mustRun(t, dir, "down") })
	c := &cluster{dir: dir}
	first := exec.Command(os.Args[0], "serve", "--dir="+dir)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = first.Wait() }()
	for alive, err := c.alive(); !alive; alive, err = c.alive() {
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Millisecond)
	}
	if out := mustRun(t, dir, "up"); !strings.Contains(out, "booting already") {
		t.Errorf("up while it is booting: %s", out)
	}
	st, err := c.read()
	if err != nil || st.PID != first.Process.Pid {
		t.Errorf("up is %+v, %v, want process %d", st, err, first.Process.Pid)
	}
}

// using lists the programs that have the folder among their arguments.
func using(t *testing.T, dir string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), dir) {
			found = append(found, fmt.Sprintf("%s: %q", path, data))
		}
	}
	return found
}

func TestHelpHasExamples(t *testing.T) {
	for _, c := range append(newCommand().Commands(), newCommand()) {
		if !c.Hidden && c.Example == "" && c.Name() != "help" && c.Name() != "completion" {
			t.Errorf("%s has no example", c.Name())
		}
	}
}
