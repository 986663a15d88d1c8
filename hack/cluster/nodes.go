// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/nodes"
)

// nodeFlags are those of up that are about nodes.
type nodeFlags struct {
	count             int
	family            string
	proxyMode         string
	cni               string
	podRanges         []string
	kubernetesTimings bool
}

func (n *nodeFlags) add(f *pflag.FlagSet) {
	f.IntVar(&n.count, "nodes", 0, "how many nodes with kubelet, containerd and kube-proxy (root)")
	f.StringVar(&n.family, "ip-family", "ipv4", "addresses of Services, pods and nodes: ipv4, ipv6 or dual")
	f.StringVar(&n.proxyMode, "proxy-mode", "nftables", "kube-proxy's: nftables or iptables")
	f.StringVar(&n.cni, "cni", "none", "the pod network: none (you install one), or reference (bridge and host-local)")
	f.StringSliceVar(&n.podRanges, "pod-ranges", nil, "what kube-proxy takes for pods' addresses (default 10.244.0.0/16, fd77:244::/48)")
	f.BoolVar(&n.kubernetesTimings, "kubernetes-timings", false, "notice lost nodes after Kubernetes' some 50 s, instead of the 6 s that suit tests")
}

func (n *nodeFlags) args() []string {
	args := []string{
		fmt.Sprintf("--nodes=%d", n.count), "--ip-family=" + n.family, "--proxy-mode=" + n.proxyMode, "--cni=" + n.cni,
		fmt.Sprintf("--kubernetes-timings=%t", n.kubernetesTimings),
	}
	for _, r := range n.podRanges {
		args = append(args, "--pod-ranges="+r)
	}
	return args
}

// check refuses what cannot be before anything takes time.
func (n *nodeFlags) check(s *serving) error {
	if !slices.Contains([]string{"none", "reference"}, n.cni) {
		return fmt.Errorf("--cni=%s: say none or reference", n.cni)
	}
	if n.count == 0 && (n.cni != "none" || n.family != "ipv4" || len(n.podRanges) > 0) {
		return errors.New("--cni, --ip-family and --pod-ranges are about nodes: say --nodes 3 as well")
	}
	if n.count > 0 && len(s.controllers) > 0 {
		return errors.New("with --nodes all controllers run: leave out --controllers")
	}
	_, err := n.ranges()
	return err
}

func (n *nodeFlags) ranges() (ranges []netip.Prefix, err error) {
	for _, text := range n.podRanges {
		r, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--pod-ranges: %w", err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

func (c *cluster) bootNodes(ctx context.Context, s *serving) (*controlplane.ControlPlane, func(), error) {
	ranges, err := s.nodes.ranges()
	if err != nil {
		return nil, nil, err
	}
	up, err := nodes.Up(ctx, nodes.Options{
		Dir: c.dir, Count: s.nodes.count, Family: nodes.IPFamily(s.nodes.family), ProxyMode: s.nodes.proxyMode,
		PodRanges: ranges, ReferenceCNI: s.nodes.cni == "reference", KubernetesTimings: s.nodes.kubernetesTimings, Out: os.Stdout,
	})
	if err != nil {
		return nil, nil, err
	}
	down := func() {
		if err := up.Down(context.WithoutCancel(ctx)); err != nil {
			fmt.Println("error:", err)
		}
	}
	if err := c.serveControl(ctx, up); err != nil {
		down()
		return nil, nil, err
	}
	return up.ControlPlane, down, nil
}
