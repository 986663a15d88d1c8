// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespaces are the ones that the first process is to be started in, besides
// a network namespace.
const Namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID

// Join enters the control groups, makes them the roots of all that is to be
// seen, and boots: as a second stage of the same process, because a control
// group namespace is a thread's until the next exec.
func Join(specPath string) error {
	s, err := read(specPath)
	if err != nil {
		return err
	}
	for _, group := range s.Cgroups.Groups() {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("entering the control group %s: %w", group, err)
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("making a control group namespace: %w", err)
	}
	return syscall.Exec("/proc/self/exe", []string{"init", "boot", specPath}, os.Environ())
}

// Groups are the paths of all of them.
func (c Cgroups) Groups() []string {
	var groups []string
	for _, h := range c.Hierarchies {
		groups = append(groups, h.Group)
	}
	if c.Unified != "" {
		groups = append(groups, c.Unified)
	}
	return groups
}

// Boot makes the machine's file systems and runs its services; it returns only
// if it fails.
func Boot(specPath string) error {
	s, err := read(specPath)
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("naming the machine: %w", err)
	}
	if err := s.mount(); err != nil {
		return err
	}
	return s.run()
}
