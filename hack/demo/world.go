// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
)

const (
	namespace = "selvage-system"
	// killGrace is how long a program may take to end before it is killed.
	killGrace = 10 * time.Second
)

// world is everything the story plays in.
type world struct {
	*options
	source string // the source tree
	bin    string // the programs built from it
	logs   string

	cp         *controlplane.ControlPlane
	client     client.Client
	spawner    *processes.Spawner
	controller *processes.Process
	net        *hosts.Net
	api        *hosts.Forward
	machines   map[string]*machine
	pods       map[string]*pod

	heir, loser string // of host3, once decided
	dead        netip.Addr
}

func newWorld(o *options) (*world, error) {
	source, err := controlplane.SourceDir()
	if err != nil {
		return nil, err
	}
	w := &world{options: o, source: source, machines: map[string]*machine{}, pods: map[string]*pod{}}
	temporary := o.dir == ""
	if temporary {
		if o.dir, err = os.MkdirTemp("", "selvage-demo-"); err != nil {
			return nil, fmt.Errorf("making a folder for the demo: %w", err)
		}
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, fmt.Errorf("finding --dir: %w", err)
	}
	w.bin, w.logs = filepath.Join(o.dir, "bin"), filepath.Join(o.dir, "logs")
	if err := os.RemoveAll(w.logs); err != nil {
		return nil, fmt.Errorf("clearing an earlier demo's logs: %w", err)
	}
	for _, dir := range []string{w.bin, w.logs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("making %s: %w", dir, err)
		}
	}
	w.spawner, err = processes.NewSpawner()
	return w, err
}

// close ends everything. A failure's logs are its only witness: they stay.
func (w *world) close(failed bool) {
	for _, m := range w.machines {
		m.stop(killGrace)
	}
	if w.net != nil {
		w.net.Close()
	}
	if w.controller != nil {
		w.controller.Stop(killGrace)
	}
	if w.cp != nil {
		w.cp.Stop()
	}
	w.spawner.Close()
	if failed {
		fmt.Fprintf(os.Stderr, "\nlogs and data are kept in %s\n", w.dir)
		return
	}
	if strings.HasPrefix(filepath.Base(w.dir), "selvage-demo-") {
		if err := os.RemoveAll(w.dir); err != nil {
			fmt.Fprintf(os.Stderr, "removing %s: %v\n", w.dir, err)
		}
	}
}

// buildPrograms builds what the story is about.
func (w *world) buildPrograms(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", w.bin+"/",
		"./cmd/selvage-controller", "./cmd/selvage-agent", "./cmd/selvage", "./cmd/kubectl-selvage")
	cmd.Dir = w.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building Selvage: %w\n%s", err, out)
	}
	return nil
}

func (w *world) startControlPlane(ctx context.Context) error {
	var err error
	w.cp, err = controlplane.Start(ctx, controlplane.Options{Dir: filepath.Join(w.dir, "controlplane"), Out: os.Stdout})
	if err != nil {
		return err
	}
	// kubectl finds "kubectl selvage" by the PATH.
	if err := os.Symlink(w.cp.Kubectl, filepath.Join(w.bin, "kubectl")); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("putting kubectl beside its plugin: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	if err := w.cp.Install(ctx, filepath.Join(w.source, "config/default"), filepath.Join(w.source, "config/crd-guard")); err != nil {
		return err
	}
	w.client, err = client.New(w.cp.Config, client.Options{Scheme: scheme})
	return err
}

func (w *world) startController(ctx context.Context) error {
	kubeconfig, _, err := w.cp.KubeconfigFor(ctx, namespace, "selvage-controller", nil)
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(w.bin, "selvage-controller"), "--kubeconfig="+kubeconfig, "--namespace="+namespace,
		"--leader-elect", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	w.controller, err = processes.StartProcess(w.spawner, "selvage-controller", filepath.Join(w.logs, "controller.log"), cmd)
	return err
}

func (w *world) startHosts(ctx context.Context) error {
	var err error
	if w.net, err = hosts.New(ctx, "sv", netip.Prefix{}); err != nil {
		return err
	}
	if w.api, err = w.net.Forward(w.cp.Address); err != nil {
		return err
	}
	for _, name := range []string{"host1", "host2", "host3"} {
		if err := w.newMachine(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command as a person would type it, with kubectl and its plugin on
// the PATH.
func (w *world) run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, args[0]), args[1:]...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.cp.Kubeconfig, "PATH="+w.bin+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(stdin)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	err := w.spawner.Run(cmd)
	return out.String(), err
}

// show runs a command and writes it down.
func (w *world) show(ctx context.Context, say *scribe, args ...string) (string, error) {
	out, err := w.run(ctx, "", args...)
	say.command(strings.Join(args, " "), out)
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out, err
}

// inUserNamespace says whether root is root here alone.
func inUserNamespace() (bool, error) {
	users, err := os.ReadFile("/proc/self/uid_map")
	return strings.Join(strings.Fields(string(users)), " ") != "0 0 4294967295", err
}

// invite says how to play with what is left up.
func (w *world) invite(out io.Writer) {
	fmt.Fprintf(out, "\nit stays up until Ctrl-C. In another terminal:\n")
	fmt.Fprintf(out, "  export KUBECONFIG=%s PATH=%s:$PATH\n  kubectl selvage status\n", w.cp.Kubeconfig, w.bin)
	enter := "nsenter"
	if inside, err := inUserNamespace(); err == nil && inside {
		enter += fmt.Sprintf(" --user=/proc/%d/ns/user --preserve-credentials", os.Getpid())
	}
	for _, name := range []string{"host1", "host2", "host3"} {
		fmt.Fprintf(out, "  %s --net=%s ip route   # %s\n", enter, w.machines[name].host.NetNS, name)
	}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		p := w.pods[name]
		fmt.Fprintf(out, "  %s --net=%s ip address   # %s, %s\n", enter, p.space.NetNS, name, p.address)
	}
	fmt.Fprintf(out, "logs: %s\n", w.logs)
}
