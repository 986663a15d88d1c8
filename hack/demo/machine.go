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
	"time"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// machine is a host: its agent and, in the place of a container runtime, what
// calls the CNI plugin.
type machine struct {
	name       string
	host       *hosts.Host
	world      *world
	kubeconfig string
	dir        string
	agent      *processes.Process
}

// newMachine makes a host and registers its Node, as its kubelet would; the
// agent does not run yet.
func (w *world) newMachine(ctx context.Context, name string) error {
	host, err := w.net.Host(name)
	if err != nil {
		return err
	}
	m := &machine{name: name, host: host, world: w, dir: filepath.Join(w.dir, name)}
	w.machines[name] = m
	// An earlier demo in the same --dir was on other machines.
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("clearing the folders of %s: %w", name, err)
	}
	for _, dir := range []string{m.runDir(), m.stateDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the folders of %s: %w", name, err)
		}
	}
	if _, err := w.cp.NewNode(ctx, name, host.Address, host.Address6); err != nil {
		return err
	}
	m.kubeconfig, _, err = w.cp.NewAgent(ctx, namespace, name, w.api.Address)
	return err
}

func (m *machine) runDir() string   { return filepath.Join(m.dir, "run") }
func (m *machine) stateDir() string { return filepath.Join(m.dir, "state") }

// start starts the agent, on what earlier ones left on the disk and in the
// kernel.
func (m *machine) start() error {
	args := []string{
		"--node-name=" + m.name, "--kubeconfig=" + m.kubeconfig, "--namespace=" + namespace,
		"--state-dir=" + m.stateDir(), "--run-dir=" + m.runDir(),
		"--lease-duration=" + m.world.leaseDuration.String(),
		"--metrics-bind-address=0", "--health-probe-bind-address=0",
	}
	if m.name == "host3" {
		args = append(args, fmt.Sprintf("--headroom=%d", headroom))
	}
	cmd := exec.Command(filepath.Join(m.world.bin, "selvage-agent"), args...)
	var err error
	m.agent, err = m.host.StartProcess("the agent of "+m.name, filepath.Join(m.world.logs, m.name+".log"), cmd)
	return err
}

// stop ends the agent in its own time.
func (m *machine) stop(grace time.Duration) {
	if m.agent != nil {
		m.agent.Stop(grace)
	}
}

// check tells an agent that has ended, which nothing would mend.
func (m *machine) check() error {
	if m.agent != nil && !m.agent.Running() {
		return &finalError{m.agent.Failure()}
	}
	return nil
}
