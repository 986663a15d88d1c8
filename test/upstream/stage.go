// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/upstream/images"
	"github.com/selvage-net/selvage/test/upstream/programs"
)

// The pod networks.
const (
	selvage   = "selvage"
	reference = "reference"
)

// zones are as many as tests of traffic that keeps to its zone want.
const zones = 3

// podRanges hold the pools of config/pool-dual.
var podRanges = []netip.Prefix{netip.MustParsePrefix("10.32.0.0/12"), netip.MustParsePrefix("fd00:10:32::/48")}

// addedServices is a range of Service addresses that a test adds, and that other
// tests' Services then get addresses of. Nodes have no default route, and a
// node's own packets are routed before kube-proxy sees them.
var addedServices = netip.MustParsePrefix("203.0.113.0/24")

// stage is the cluster that is tested.
type stage struct {
	*options
	out      io.Writer
	programs programs.Paths
	cluster  *nodes.Cluster
	source   string
}

// up boots the cluster, installs the pod network as a person would, and waits
// until pods can be served.
func (s *stage) up(ctx context.Context) (err error) {
	if s.source, err = controlplane.SourceDir(); err != nil {
		return err
	}
	options := nodes.Options{
		Dir: filepath.Join(s.dir, "cluster"), Count: s.nodes, Family: nodes.Dual, ProxyMode: s.proxyMode, Out: s.out,
		ReferenceCNI: s.cni == reference,
		// Tests of a loaded machine are not to lose nodes.
		KubernetesTimings: true,
	}
	if s.cni == selvage {
		options.PodRanges = podRanges
	}
	start := time.Now()
	if s.cluster, err = nodes.Up(ctx, options); err != nil {
		return err
	}
	if err := s.loadImages(ctx); err != nil {
		return err
	}
	if s.cni == selvage {
		if err := s.installSelvage(ctx); err != nil {
			return err
		}
	}
	if err := s.cluster.WaitReady(ctx); err != nil {
		return err
	}
	for i, n := range s.cluster.Nodes() {
		if err := n.Host().Route(addedServices, netip.Addr{}); err != nil {
			return err
		}
		if err := s.kubectl(ctx, "label", "node", n.Name, fmt.Sprintf("topology.kubernetes.io/zone=zone%d", i%zones+1)); err != nil {
			return err
		}
	}
	if err := s.installDNS(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "the cluster is ready after %s\n", time.Since(start).Round(time.Second))
	return nil
}

func (s *stage) down(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Down(context.WithoutCancel(ctx))
}

func (s *stage) loadImages(ctx context.Context) error {
	archives, err := images.Build(ctx, s.out, filepath.Join(s.dir, "images"), s.programs)
	if err != nil {
		return err
	}
	if s.cni == selvage {
		// As in docs/install.md: make images.
		dir := filepath.Join(s.source, "bin", "images")
		cmd := exec.CommandContext(ctx, "go", "run", "./hack/images", "--out", dir, "--architectures", runtime.GOARCH)
		cmd.Dir, cmd.Stdout, cmd.Stderr = s.source, s.out, s.out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building Selvage's images: %w", err)
		}
		archives = append(archives, filepath.Join(dir, "selvage-controller.tar"), filepath.Join(dir, "selvage-agent.tar"))
	}
	fmt.Fprintf(s.out, "loading %d images into the nodes …\n", len(archives))
	for _, archive := range archives {
		if err := s.cluster.LoadImage(ctx, archive); err != nil {
			return err
		}
	}
	return nil
}

// installSelvage does what docs/install.md says.
func (s *stage) installSelvage(ctx context.Context) error {
	config, err := s.overlay()
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "installing Selvage: kubectl apply -k %s …\n", config)
	for _, step := range [][]string{
		{"apply", "-k", config},
		{"wait", "--for=condition=Established", "--timeout=1m", "crd/addresspools.net.selvage.dev"},
		{"apply", "-k", filepath.Join(s.source, "config", "pool-dual")},
		{"-n", "selvage-system", "rollout", "status", "--timeout=3m", "daemonset/selvage-agent"},
		{"-n", "selvage-system", "rollout", "status", "--timeout=3m", "deployment/selvage-controller"},
	} {
		if err := s.kubectl(ctx, step...); err != nil {
			return err
		}
	}
	return s.routeAPIServer(ctx)
}

// overlay is config/default, or an overlay of it with direct routes.
func (s *stage) overlay() (string, error) {
	config := filepath.Join(s.source, "config", "default")
	if s.encapsulation == vxlan {
		return config, nil
	}
	dir := filepath.Join(s.dir, "overlay")
	base, err := filepath.Rel(dir, config)
	if err != nil {
		return "", fmt.Errorf("making an overlay: %w", err)
	}
	overlay := fmt.Sprintf(`resources: [%s]
patches:
  - target: {kind: DaemonSet, name: selvage-agent}
    patch: '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--encapsulation=%s"}]'
`, base, s.encapsulation)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making an overlay: %w", err)
	}
	return dir, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o644)
}

func (s *stage) installDNS(ctx context.Context) error {
	manifest := filepath.Join(s.source, "test", "upstream", "coredns.yaml")
	if err := s.kubectl(ctx, "apply", "-f", manifest); err != nil {
		return err
	}
	return s.kubectl(ctx, "-n", "kube-system", "rollout", "status", "--timeout=3m", "deployment/coredns")
}

// kubectl runs it on the cluster. What it says goes to a log; only errors are
// shown.
func (s *stage) kubectl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.cluster.ControlPlane.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.cluster.Kubeconfig)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said))
	}
	return nil
}
