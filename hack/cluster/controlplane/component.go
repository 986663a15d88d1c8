// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// Component is one program of a control plane. Stopping and starting it again
// keeps its data, its address and its clients' credentials: an outage.
type Component struct {
	// Name is the program's.
	Name string
	// Log is the path of its output.
	Log string

	path    string
	args    []string
	spawner *processes.Spawner
	ready   func(ctx context.Context) error
	process *processes.Process
}

// startLimit is generous: shared machines may take ten times the usual 5 s.
const startLimit = 3 * time.Minute

// Start starts the program and waits until it serves.
func (c *Component) Start(ctx context.Context) error {
	if c.process != nil && c.process.Running() {
		return nil
	}
	process, err := processes.StartProcess(c.spawner, c.Name, c.Log, exec.Command(c.path, c.args...))
	if err != nil {
		return err
	}
	c.process = process
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var last error
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if !process.Running() {
			return false, process.Failure()
		}
		last = c.ready(ctx)
		return last == nil, nil
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil:
		return err
	default:
		return fmt.Errorf("%s is not ready (%w): %w; the end of %s:\n%s", c.Name, err, last, c.Log, process.Tail(20))
	}
}

// Stop asks the program to end and waits.
func (c *Component) Stop() {
	if c.process != nil {
		c.process.Stop(stopGrace)
	}
}

// Kill ends it as a power cut would.
func (c *Component) Kill() {
	if c.process != nil {
		c.process.Kill()
	}
}

// Signal sends one signal, such as SIGSTOP for a machine that hangs.
func (c *Component) Signal(sig os.Signal) error {
	if c.process == nil {
		return fmt.Errorf("%s has not been started", c.Name)
	}
	return c.process.Signal(sig)
}

func (cp *ControlPlane) component(name, path string, args []string, ready func(context.Context) error) *Component {
	return &Component{Name: name, Log: filepath.Join(cp.Dir, name+".log"), path: path, args: args, spawner: cp.spawner, ready: ready}
}

// freePorts asks the kernel for ports that nobody uses now.
func (cp *ControlPlane) freePorts(address netip.Addr, count int) (ports []uint16, err error) {
	err = cp.spawner.Do(func() error {
		for range count {
			l, err := net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
			if err != nil {
				return fmt.Errorf("looking for a free port on %s: %w", address, err)
			}
			defer l.Close() // all are held until all are known
			ports = append(ports, uint16(l.Addr().(*net.TCPAddr).Port))
		}
		return nil
	})
	return ports, err
}

// client speaks HTTP from where the programs run. The certificates there are
// the programs' own, made at their start: these are health checks.
func (cp *ControlPlane) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = cp.spawner.Do(func() (err error) {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
}
