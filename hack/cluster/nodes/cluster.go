// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/hosts"
)

// Cluster is a running one.
type Cluster struct {
	// ControlPlane is its etcd, API server, controller manager and scheduler:
	// each can be stopped and started by itself.
	ControlPlane *controlplane.ControlPlane
	// Config is an administrator's, without client-side rate limits, and
	// Kubeconfig the path of the same as a file.
	Config     *rest.Config
	Kubeconfig string
	// Dir holds everything, logs among it.
	Dir string

	options     Options
	clients     kubernetes.Interface
	hierarchies *hierarchies
	name        string // of the control groups, and of the claim
	claim       *flock.Flock
	network     *hosts.Net

	mu     sync.Mutex
	nodes  []*Node
	images []string // archives in the folder of images, in order
}

// Up boots a cluster. It returns when every node's kubelet has reported and,
// with the reference CNI, when every node is Ready. After an error nothing runs.
func Up(ctx context.Context, options Options) (*Cluster, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	if err := require(&options); err != nil {
		return nil, err
	}
	if err := Sweep(ctx); err != nil {
		return nil, err
	}
	c := &Cluster{Dir: options.Dir, options: options, name: claimName(options.Dir)}
	if err := c.boot(ctx); err != nil {
		return nil, errors.Join(err, c.Down(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *Cluster) boot(ctx context.Context) (err error) {
	start := time.Now()
	if c.hierarchies, err = findHierarchies(); err != nil {
		return err
	}
	if err := c.hierarchies.suffice(); err != nil {
		return err
	}
	if c.claim, err = claim(ctx, c.Dir); err != nil {
		return err
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	if c.network, err = hosts.New(ctx, "port", netip.Prefix{}); err != nil {
		return err
	}
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	for i := range c.options.Count {
		if _, err := c.AddNode(ctx, fmt.Sprintf("node%d", i+1)); err != nil {
			return err
		}
	}
	if err := c.awaitAccount(ctx); err != nil {
		return err
	}
	await, state := c.WaitBooted, "up, and Ready once a pod network is installed"
	if c.options.ReferenceCNI {
		await, state = c.WaitReady, "Ready"
	}
	if err := await(ctx); err != nil {
		return err
	}
	c.say("%d nodes: %s, %s after the beginning", c.options.Count, state, time.Since(start).Round(100*time.Millisecond))
	return nil
}

// awaitAccount waits until pods can be made in the default namespace.
func (c *Cluster) awaitAccount(ctx context.Context) error {
	return c.poll(ctx, "the default service account", func(ctx context.Context) error {
		_, err := c.clients.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// prepare makes folders, and the programs that are ours.
func (c *Cluster) prepare(ctx context.Context) error {
	for _, dir := range []string{"nodes", "images", "programs"} {
		path := filepath.Join(c.Dir, dir)
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing an earlier cluster: %w", err)
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("making the cluster's folder: %w", err)
		}
	}
	for _, program := range []string{"machine/init", "pause"} {
		if err := c.compile(ctx, program); err != nil {
			return err
		}
	}
	return c.makePauseImage()
}

// compile builds one of this module's small programs, statically.
func (c *Cluster) compile(ctx context.Context, program string) error {
	root, err := controlplane.SourceDir()
	if err != nil {
		return fmt.Errorf("building %s: %w", program, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-o", c.program(filepath.Base(program)), "./hack/cluster/nodes/"+program)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", program, err, said)
	}
	return nil
}

func (c *Cluster) program(name string) string { return filepath.Join(c.Dir, "programs", name) }

func (c *Cluster) startControlPlane(ctx context.Context) (err error) {
	nodes := &controlplane.Nodes{ServiceRanges: c.options.Family.choose(serviceRange4, serviceRange6)}
	if !c.options.KubernetesTimings {
		nodes.GracePeriod, nodes.CheckPeriod = gracePeriod, checkPeriod
	}
	start := time.Now()
	c.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{
		Dir: c.Dir, Switch: c.network, Nodes: nodes, Out: c.options.Out,
		APIServerArgs: c.options.APIServerArgs, FeatureGates: c.options.FeatureGates,
	})
	if err != nil {
		return err
	}
	c.say("control plane: ready at %s after %s", c.ControlPlane.Published, time.Since(start).Round(100*time.Millisecond))
	c.Config, c.Kubeconfig = c.ControlPlane.Config, c.ControlPlane.Kubeconfig
	c.clients, err = kubernetes.NewForConfig(c.Config)
	return err
}

func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.options.Out, strings.TrimSuffix(format, "\n")+"\n", args...)
}

// Nodes are all nodes, in the order of their making.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.nodes...)
}

// Node finds one by its name.
func (c *Cluster) Node(name string) (*Node, error) {
	var names []string
	for _, n := range c.Nodes() {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return nil, fmt.Errorf("no node %q: there are %s", name, strings.Join(names, ", "))
}

// Down switches everything off and deletes the disks; logs stay in Dir.
func (c *Cluster) Down(ctx context.Context) error {
	var errs []error
	var off sync.WaitGroup
	nodes := c.Nodes()
	failed := make([]error, len(nodes))
	for i, n := range nodes {
		off.Go(func() { failed[i] = n.Stop(ctx) })
	}
	off.Wait()
	errs = append(errs, failed...)
	if c.ControlPlane != nil {
		c.ControlPlane.Stop()
	}
	if c.network != nil {
		c.network.Close()
	}
	if c.claim == nil {
		return errors.Join(errs...)
	}
	errs = append(errs, c.hierarchies.remove(ctx, c.name))
	for _, n := range nodes {
		errs = append(errs, os.RemoveAll(n.disk()))
	}
	errs = append(errs, os.RemoveAll(filepath.Join(c.Dir, "images")), c.claim.Unlock())
	return errors.Join(errs...)
}
