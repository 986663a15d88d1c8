// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/nodes"
)

// serving is what the daemon is told.
type serving struct {
	install           []string
	controllerManager bool
	controllers       []string
	nodes             nodeFlags
}

func (s *serving) addFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&s.install, "install", nil, "a kustomize folder to apply, such as config/default; may be repeated")
	f.BoolVar(&s.controllerManager, "controller-manager", false, "also run kube-controller-manager")
	f.StringSliceVar(&s.controllers, "controllers", nil, "the controllers it runs (default all)")
	s.nodes.add(f)
}

func (s *serving) args() []string {
	var args []string
	for _, dir := range s.install {
		args = append(args, "--install="+dir)
	}
	if s.controllerManager {
		args = append(args, "--controller-manager")
	}
	if len(s.controllers) > 0 {
		args = append(args, "--controllers="+strings.Join(s.controllers, ","))
	}
	return append(args, s.nodes.args()...)
}

// state is what the daemon says of itself once it is ready.
type state struct {
	PID        int    `json:"pid"`
	Server     string `json:"server"`
	Kubeconfig string `json:"kubeconfig"`
	Kubectl    string `json:"kubectl"`
	Nodes      bool   `json:"nodes"`
}

func (c *cluster) statePath() string { return filepath.Join(c.dir, "state.json") }
func (c *cluster) logPath() string   { return filepath.Join(c.dir, "cluster.log") }

// lock is held by the daemon as long as it lives: the kernel lets go of it
// however the daemon ends, so a state file alone is never believed.
func (c *cluster) lock() *flock.Flock { return flock.New(filepath.Join(c.dir, "lock")) }

// errNotUp says what to do.
var errNotUp = errors.New("the cluster is not up: go run ./hack/cluster up")

// read returns the state of a daemon that lives and is ready.
func (c *cluster) read() (*state, error) {
	alive, err := c.alive()
	if err != nil {
		return nil, err
	}
	if !alive {
		return nil, errNotUp
	}
	data, err := os.ReadFile(c.statePath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the cluster is still booting: see %s", c.logPath())
	}
	if err != nil {
		return nil, err
	}
	s := &state{}
	return s, json.Unmarshal(data, s)
}

func (c *cluster) alive() (bool, error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return false, fmt.Errorf("making --dir: %w", err)
	}
	lock := c.lock()
	free, err := lock.TryLock()
	if err != nil {
		return false, fmt.Errorf("asking whether the cluster is up: %w", err)
	}
	return !free, lock.Unlock()
}

// forget removes what a daemon that was killed has left, before the next one
// holds the lock: that one is not to be taken for ready by an old state.
func (c *cluster) forget() error {
	lock := c.lock()
	free, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("locking %s: %w", c.dir, err)
	}
	if !free {
		return nil // one is booting: it has forgotten already
	}
	return errors.Join(os.RemoveAll(c.statePath()), os.Truncate(lock.Path(), 0), lock.Unlock())
}

// serve is the daemon: hidden, started by up.
func (c *cluster) serve() *cobra.Command {
	s := &serving{}
	cmd := &cobra.Command{
		Use: "serve", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runServe(cmd.Context(), s) },
	}
	s.addFlags(cmd.Flags())
	return cmd
}

func (c *cluster) runServe(ctx context.Context, s *serving) (err error) {
	lock := c.lock()
	// Commands that ask whether it is up hold the lock for a moment.
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := lock.TryLockContext(asked, 20*time.Millisecond); err != nil {
		return fmt.Errorf("another cluster runs in %s already (%w)", c.dir, err)
	}
	// This also keeps the garbage collector from closing it before.
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if err := os.WriteFile(lock.Path(), fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
		return fmt.Errorf("saying who holds the lock: %w", err)
	}
	if err := errors.Join(os.RemoveAll(c.statePath()), os.RemoveAll(filepath.Join(c.dir, "control"))); err != nil {
		return err
	}
	defer os.Remove(c.statePath())
	cp, stop, err := c.boot(ctx, s)
	if err != nil {
		return err
	}
	defer stop()
	for _, dir := range s.install {
		fmt.Printf("installing %s …\n", dir)
		if err := cp.Install(ctx, dir); err != nil {
			return err
		}
	}
	data, err := json.Marshal(state{PID: os.Getpid(), Server: "https://" + cp.Published.String(), Kubeconfig: cp.Kubeconfig, Kubectl: cp.Kubectl, Nodes: s.nodes.count > 0})
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.statePath()+".new", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(c.statePath()+".new", c.statePath()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// boot starts what was asked for, and returns what ends it.
func (c *cluster) boot(ctx context.Context, s *serving) (*controlplane.ControlPlane, func(), error) {
	if s.nodes.count > 0 {
		return c.bootNodes(ctx, s)
	}
	cp, err := controlplane.Start(ctx, controlplane.Options{
		Dir: c.dir, ControllerManager: s.controllerManager, Controllers: s.controllers, Out: os.Stdout,
	})
	if err != nil {
		return nil, nil, err
	}
	return cp, cp.Stop, nil
}

func (c *cluster) runUp(ctx context.Context, out io.Writer, s *serving) error {
	if st, err := c.read(); err == nil {
		fmt.Fprintf(out, "up already: %s\n", st.Server)
		return nil
	}
	booting, err := c.alive()
	if err != nil {
		return err
	}
	if booting {
		fmt.Fprintln(out, "it is booting already:")
		return c.awaitUp(ctx, out, nil)
	}
	if err := c.forget(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	log, err := os.OpenFile(c.logPath(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	daemon := exec.Command(self, append([]string{"serve", "--dir=" + c.dir}, s.args()...)...)
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this terminal
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	err = c.awaitUp(ctx, out, ended)
	if ctx.Err() != nil {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		return errors.Join(err, <-ended)
	}
	return err
}

// awaitUp shows what the daemon says until it is ready. Without a channel that
// tells its end, the lock does.
func (c *cluster) awaitUp(ctx context.Context, out io.Writer, ended <-chan error) error {
	shown := &tail{path: c.logPath(), out: out}
	for {
		shown.copy()
		st, err := c.read()
		switch {
		case err == nil:
			fmt.Fprintf(out, "up: %s\nexport KUBECONFIG=%s\n", st.Server, st.Kubeconfig)
			return nil
		case ended == nil && errors.Is(err, errNotUp):
			return fmt.Errorf("the cluster did not come up: see %s", c.dir)
		}
		select {
		case err := <-ended:
			shown.copy()
			return fmt.Errorf("the cluster did not come up (%w): see %s", err, c.dir)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tail shows what the daemon writes, as it comes.
type tail struct {
	path string
	out  io.Writer
	at   int64
}

func (t *tail) copy() {
	f, err := os.Open(t.path)
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Seek(t.at, io.SeekStart); err != nil {
		return
	}
	n, _ := io.Copy(t.out, f)
	t.at += n
}

// downLimit is more than a clean end takes; then it is killed, which its
// programs do not survive either.
const downLimit = 40 * time.Second

func (c *cluster) runDown(ctx context.Context, out io.Writer) error {
	alive, err := c.alive()
	if err != nil {
		return err
	}
	if alive {
		pid, err := c.lockHolder(ctx)
		if err != nil {
			return err
		}
		if err := c.end(ctx, pid); err != nil {
			return err
		}
	}
	if err := nodes.Clear(ctx, c.dir); err != nil {
		return err
	}
	for _, path := range []string{c.statePath(), filepath.Join(c.dir, "control"), filepath.Join(c.dir, "etcd")} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("deleting its data: %w", err)
		}
	}
	fmt.Fprintln(out, map[bool]string{true: "down", false: "down already"}[alive])
	return nil
}

// lockHolder is the daemon's process id, which it has written into its lock.
func (c *cluster) lockHolder(ctx context.Context) (int, error) {
	path := c.lock().Path()
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	for {
		data, err := os.ReadFile(path)
		if err != nil {
			return 0, fmt.Errorf("asking which process the cluster is: %w", err)
		}
		var pid int
		if _, err := fmt.Sscan(string(data), &pid); err == nil && pid > 1 {
			return pid, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s does not say which process holds it: %q", path, data)
		case <-time.After(50 * time.Millisecond): // it has just begun
		}
	}
}

func (c *cluster) end(ctx context.Context, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending process %d: %w", pid, err)
	}
	for {
		if alive, err := c.alive(); err != nil || !alive {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), syscall.Kill(pid, syscall.SIGKILL))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *cluster) runStatus(ctx context.Context, out io.Writer, kubeconfig bool) error {
	st, err := c.read()
	if err != nil {
		return err
	}
	if kubeconfig {
		fmt.Fprintln(out, st.Kubeconfig)
		return nil
	}
	cmd := exec.CommandContext(ctx, st.Kubectl, "--kubeconfig="+st.Kubeconfig, "get", "--raw", "/readyz")
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s does not answer: %w: %s", st.Server, err, said)
	}
	fmt.Fprintf(out, "up:      %s (process %d), %s\nlogs:    %s\nexport KUBECONFIG=%s\n", st.Server, st.PID, said, c.dir, st.Kubeconfig)
	if !st.Nodes {
		return nil
	}
	states, err := c.nodeStates(ctx)
	printNodes(out, states)
	return err
}

func (c *cluster) runKubectl(ctx context.Context, args []string) error {
	st, err := c.read()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, st.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+st.Kubeconfig)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return passOn(cmd.Run())
}
