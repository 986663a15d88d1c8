// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package stage is a real cluster with Selvage installed on it as a person
// would, and what the suites on it share: pods that answer, flows that count
// their losses, a witness, and the evidence that is kept when a test fails.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/witness"
)

// Namespace is where Selvage is installed.
const Namespace = "selvage-system"

// Lease is how long the agents' leases are: short, so that tests can sit it
// out. Grace is how long a Node must be gone before its peer is removed.
const (
	Lease = 15 * time.Second
	Grace = 10 * time.Second
)

// Options say what to set up.
type Options struct {
	nodes.Options
	// Source is the top of the source tree.
	Source string
	// Pool is the folder of config with the pools: pool by default.
	Pool string
}

// Stage is the cluster with Selvage on it.
type Stage struct {
	*nodes.Cluster
	Client  client.Client
	Witness *witness.Witness

	options Options
	work    string
	stop    context.CancelFunc
	watched chan error
}

// Up builds the images, boots the nodes and installs Selvage. It returns when
// every node is Ready. After an error nothing runs.
func Up(ctx context.Context, options Options) (_ *Stage, err error) {
	s := &Stage{options: options}
	if s.options.Out == nil {
		s.options.Out = io.Discard
	}
	if s.options.Pool == "" {
		s.options.Pool = "pool"
	}
	if s.work, err = os.MkdirTemp("", "selvage-stage"); err != nil {
		return nil, err
	}
	if s.options.Dir == "" {
		s.options.Dir = filepath.Join(s.work, "cluster")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Down(context.WithoutCancel(ctx)))
		}
	}()
	images, err := s.buildImages(ctx)
	if err != nil {
		return nil, err
	}
	if s.Cluster, err = nodes.Up(ctx, s.options.Options); err != nil {
		return nil, err
	}
	for _, image := range images {
		if err := s.LoadImage(ctx, image); err != nil {
			return nil, err
		}
	}
	if s.Client, err = newClient(s.Cluster); err != nil {
		return nil, err
	}
	if err := s.install(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Down ends everything, and says what the witness could not read.
func (s *Stage) Down(ctx context.Context) error {
	var errs []error
	if s.stop != nil {
		s.stop()
		errs = append(errs, <-s.watched)
	}
	if s.Cluster != nil {
		errs = append(errs, s.Cluster.Down(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(s.work))...)
}

func newClient(c *nodes.Cluster) (client.Client, error) {
	all := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(all), v1alpha1.AddToScheme(all)); err != nil {
		return nil, err
	}
	return client.New(c.Config, client.Options{Scheme: all})
}

// Observe starts the witness of the pools' addresses. It takes some of the
// machine's time.
func (s *Stage) Observe(ctx context.Context) error {
	var pools v1alpha1.AddressPoolList
	if err := s.Client.List(ctx, &pools); err != nil {
		return err
	}
	s.Witness = &witness.Witness{}
	for _, p := range pools.Items {
		cidr, err := netip.ParsePrefix(p.Spec.CIDR)
		if err != nil {
			return fmt.Errorf("pool %s: %w", p.Name, err)
		}
		s.Witness.Within = append(s.Witness.Within, cidr)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the caller's
	s.stop, s.watched = stop, make(chan error, 1)
	go func() { s.watched <- s.Witness.Watch(ctx, 200*time.Millisecond, s.seen) }()
	return nil
}

// seen are the nodes that the witness can look into.
func (s *Stage) seen() (seen []witness.Node) {
	for _, n := range s.Nodes() {
		// One that is off has no namespaces; the look closes what it had.
		root := filepath.Join(s.work, "none")
		if pid, err := n.PID(); err == nil {
			root = fmt.Sprintf("/proc/%d/root", pid)
		}
		seen = append(seen, witness.Node{Name: n.Name, Boot: n.BootID(), Root: root})
	}
	return seen
}

// Kubectl runs kubectl as the administrator and returns what it prints.
func (s *Stage) Kubectl(ctx context.Context, args ...string) (string, error) {
	return run(exec.CommandContext(ctx, s.ControlPlane.Kubectl, append([]string{"--kubeconfig", s.Kubeconfig}, args...)...))
}

// Selvage runs kubectl selvage.
func (s *Stage) Selvage(ctx context.Context, args ...string) (string, error) {
	return run(exec.CommandContext(ctx, filepath.Join(s.work, "kubectl-selvage"), append([]string{"--kubeconfig", s.Kubeconfig}, args...)...))
}

// run returns the output, and with an error what was printed to either stream.
func run(cmd *exec.Cmd) (string, error) {
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.String(), complaint.String())
	}
	return out.String(), nil
}
