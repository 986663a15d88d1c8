// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cni

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// inMountNamespace gives a process a view of the file systems of its own.
func inMountNamespace(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
}

// makeReadOnly makes all that a process sees of file systems read-only, and
// makes sure that it is.
func makeReadOnly(pid int) {
	GinkgoHelper()
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine: nothing else shall run there.
		runtime.LockOSThread()
		done <- readOnly(pid)
	}()
	Expect(<-done).To(Succeed())
}

func readOnly(pid int) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	all := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, all); err != nil {
		return err
	}
	for _, dir := range []string{"/", "/tmp", "/run", "/var/lib"} {
		if err := os.WriteFile(filepath.Join(dir, "selvage-test-write"), nil, 0o600); !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("%s can still be written to: %w", dir, err)
		}
	}
	return nil
}
