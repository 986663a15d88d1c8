// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// stopGrace is how long a program may take to end by itself.
const stopGrace = 5 * time.Second

// Controller is one of Selvage's controllers, as its Deployment runs it.
type Controller struct {
	Name       string
	world      *World
	kubeconfig string

	mu      sync.Mutex
	bin     string // where its program comes from
	process *processes.Process
	elect   bool
	wanted  bool
	ended   int
}

// NewController makes one that prefers one of the API servers. It does not run
// yet.
func (w *World) NewController(ctx context.Context) (*Controller, error) {
	number := len(w.Controllers)
	front, err := w.balance(number % len(w.backends))
	if err != nil {
		return nil, err
	}
	path, _, err := w.Plane.KubeconfigVia(ctx, front, Namespace, "selvage-controller", nil)
	if err != nil {
		return nil, err
	}
	c := &Controller{Name: fmt.Sprintf("controller%d", number+1), world: w, bin: w.Bin}
	c.kubeconfig, err = w.keepCopy(path, c.Name)
	w.Controllers = append(w.Controllers, c)
	return c, err
}

// keepCopy puts a kubeconfig where no other of the same account overwrites it.
func (w *World) keepCopy(path, name string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("copying a kubeconfig: %w", err)
	}
	copied := filepath.Join(w.Dir, name+".kubeconfig")
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		return "", fmt.Errorf("copying a kubeconfig: %w", err)
	}
	return copied, nil
}

// Start starts it, if it does not run, with or without leader election.
func (c *Controller) Start(elect bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elect, c.wanted = elect, true
	return c.start()
}

func (c *Controller) start() error {
	if c.process != nil && c.process.Running() {
		return nil
	}
	cmd := exec.Command(filepath.Join(c.bin, "selvage-controller"),
		"--kubeconfig="+c.kubeconfig, "--namespace="+Namespace, fmt.Sprintf("--leader-elect=%t", c.elect),
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=info",
		"--lease-duration="+c.world.Lease.String(), "--claim-timeout=10s", "--grace-period=30s", "--max-removals=1")
	var err error
	c.process, err = processes.StartProcess(c.world.spawner, c.Name, filepath.Join(c.world.Dir, c.Name+".log"), cmd)
	if err == nil {
		go c.restart(c.process)
	}
	return err
}

// restart is what a kubelet does with a controller that ends by itself, as one
// does that has lost its leadership.
func (c *Controller) restart(process *processes.Process) {
	<-process.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != process || !c.wanted {
		return
	}
	c.ended++
	c.world.Journal.Say("%s has ended by itself", c.Name)
	time.AfterFunc(time.Second, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.wanted {
			_ = c.start()
		}
	})
}

// Ended is how often it ended by itself.
func (c *Controller) Ended() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Again starts it as it was started last.
func (c *Controller) Again() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = true
	return c.start()
}

// Replace starts it anew with the program of another folder.
func (c *Controller) Replace(bin string) error {
	c.Stop()
	c.mu.Lock()
	c.bin = bin
	c.mu.Unlock()
	return c.Again()
}

// Kill ends it as a crash does.
func (c *Controller) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = false
	if c.process != nil {
		c.process.Kill()
	}
}

// Stop asks it to end.
func (c *Controller) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = false
	if c.process != nil {
		c.process.Stop(stopGrace)
	}
}

// Freeze stops its time, and Thaw lets it go on.
func (c *Controller) Freeze() error { return c.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (c *Controller) Thaw() error { return c.signal(syscall.SIGCONT) }

func (c *Controller) signal(s syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return nil
	}
	return c.process.Signal(s)
}

// Running says whether it has not ended.
func (c *Controller) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process != nil && c.process.Running()
}
