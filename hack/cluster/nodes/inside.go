// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

// Command is a command that runs on the node, as root, with kubectl, ctr and
// the machine's own programs in its path. It ends with ctx, and with the node at
// the latest.
func (n *Node) Command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	pid, err := n.PID()
	if err != nil {
		return nil, err
	}
	cmd := Command(ctx, pid, name, args...)
	// To enter a process namespace nsenter forks: both are to be killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = waitDelay
	return cmd, nil
}

// waitDelay is how long what a command left behind may hold its output open.
const waitDelay = 5 * time.Second

// PID is the node's first process, as seen from here.
func (n *Node) PID() (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.on() {
		return 0, fmt.Errorf("%s: %w", n.Name, errOff)
	}
	return n.process.PID(), nil
}

// Command is a command that runs on the node with the given first process, in
// the foreground of the caller's terminal.
func Command(ctx context.Context, pid int, name string, args ...string) *exec.Cmd {
	enter := []string{"--target=" + strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{
		"PATH=" + machine.ProgramsDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/var/lib/root", "TERM=" + os.Getenv("TERM"), "KUBECONFIG=" + machine.ConfigurationDir + "/kubelet.kubeconfig",
	}
	return cmd
}

// Output runs a command on the node and returns what it prints.
func (n *Node) Output(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := n.Command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s on %s: %w: %s", name, n.Name, err, out)
	}
	return string(out), nil
}
