// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// forward makes sure that the host forwards a family: read first, since that is
// all that a container with a read-only /proc/sys can do.
func (k *Kernel) forward(six bool) error {
	at := 0
	if six {
		at = 1
	}
	k.forwarding.Lock()
	defer k.forwarding.Unlock()
	if k.forwarded[at] {
		return nil
	}
	err := k.do(func(*worker) error {
		if six {
			return forward6(k.opts.Sysctls)
		}
		return setSysctl(k.opts.Sysctls, "ipv4/ip_forward", "1")
	})
	k.forwarded[at] = err == nil
	return err
}

// forward6 turns IPv6 forwarding on. A forwarding host takes no router's
// advertisement unless accept_ra is 2, and would lose its own default route:
// where advertisements are taken now they stay taken.
func forward6(root string) error {
	const all = "ipv6/conf/all/forwarding"
	now, err := readSysctl(root, all)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("this host has no IPv6 (booted with ipv6.disable=1?): enable it, or give the node no IPv6 pool")
	}
	if err != nil || now == "1" {
		return err
	}
	files, err := filepath.Glob(filepath.Join(root, "ipv6/conf/*/accept_ra"))
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.TrimPrefix(f, root+"/")
		if v, err := readSysctl(root, name); err != nil || v != "1" {
			continue // 0 takes none, 2 takes them anyway; and interfaces come and go
		}
		if err := setSysctl(root, name, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return setSysctl(root, all, "1")
}

func readSysctl(root, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, name))
	return strings.TrimSpace(string(b)), err
}

// setSysctl sets a value that is not set already.
func setSysctl(root, name, value string) error {
	now, err := readSysctl(root, name)
	if err == nil && now == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, name), []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("net.%s is %q and must be %s, but cannot be set from here: run `sysctl -w net.%[1]s=%[3]s` on the node, "+
			"or give the agent a place where it can (--sysctl-dir): %w", strings.ReplaceAll(name, "/", "."), now, value, err)
	}
	return nil
}
