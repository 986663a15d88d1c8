// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Kill ends a node's processes of that name with SIGKILL, as the kernel does
// when memory runs out. It returns how many there were.
func (s *Stage) Kill(ctx context.Context, node, program string) (int, error) {
	found, err := s.processes(node, program)
	if err != nil {
		return 0, err
	}
	n, err := s.Node(node)
	if err != nil {
		return 0, err
	}
	pids := make([]string, len(found))
	for i, path := range found {
		pids[i] = filepath.Base(path)
	}
	_, err = n.Output(ctx, "sh", "-c", "kill -KILL "+strings.Join(pids, " "))
	return len(pids), err
}

// processes are the folders in /proc of a node's processes of that name, of
// which there must be one.
func (s *Stage) processes(node, program string) (found []string, _ error) {
	n, err := s.Node(node)
	if err != nil {
		return nil, err
	}
	first, err := n.PID()
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/[0-9]*/comm", first))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		comm, err := os.ReadFile(name)
		// The kernel cuts names after 15 bytes.
		if err == nil && strings.TrimSpace(string(comm)) == program[:min(len(program), 15)] {
			found = append(found, filepath.Dir(name))
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s runs no %q", node, program)
	}
	return found, nil
}

// Usage is what a program takes of a machine.
type Usage struct {
	// Memory is resident, in bytes.
	Memory int64
	// CPU is the time that it has run since it was started.
	CPU time.Duration
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

// Usage reads what a node's processes of that name take, all together.
func (s *Stage) Usage(node, program string) (u Usage, _ error) {
	found, err := s.processes(node, program)
	if err != nil {
		return u, err
	}
	for _, path := range found {
		stat, err := os.ReadFile(filepath.Join(path, "stat"))
		if err != nil {
			return u, err
		}
		// proc_pid_stat(5), counted after the name, which may hold anything.
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		var numbers [3]int64
		for i, field := range []int{14 - 3, 15 - 3, 24 - 3} {
			if numbers[i], err = strconv.ParseInt(fields[field], 10, 64); err != nil {
				return u, fmt.Errorf("%s: %w", path, err)
			}
		}
		u.CPU += time.Duration(numbers[0]+numbers[1]) * tick
		u.Memory += numbers[2] * int64(os.Getpagesize())
	}
	return u, nil
}
