// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package nodes boots a real Kubernetes cluster on one machine, without a
// container engine: a control plane, and nodes with kubelet, containerd and
// kube-proxy, each in namespaces of its own, on a switch that nothing else is
// connected to. Nodes can be switched off, cut off, paused, rebooted and
// re-imaged. Nothing is left over, even after a kill -9 of the program.
//
// It takes root, and from Debian: runc nftables iptables iproute2 mount
// util-linux containernetworking-plugins.
package nodes

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// IPFamily is which addresses Services, pods and nodes have.
type IPFamily string

// The families.
const (
	IPv4 IPFamily = "ipv4"
	IPv6 IPFamily = "ipv6"
	Dual IPFamily = "dual"
)

// Options say what to boot. The zero value is three nodes without a pod
// network, over IPv4.
type Options struct {
	// Dir is where disks, certificates and logs go. It is wiped by Up, and kept
	// by Down but for disks. Two clusters need two.
	Dir string
	// Count is how many nodes there are, node1, node2 …; zero: three.
	Count int
	// Family is IPv4 by default.
	Family IPFamily
	// ProxyMode is kube-proxy's: nftables by default, or iptables.
	ProxyMode string
	// PodRanges are what kube-proxy takes for pods' addresses and what the
	// reference CNI, if installed, gives each node a part of: 10.244.0.0/16 and
	// fd77:244::/48 by default.
	PodRanges []netip.Prefix
	// ReferenceCNI installs bridge and host-local, with routes between the
	// nodes. Without it nodes stay NotReady until something installs a network.
	ReferenceCNI bool
	// KubernetesTimings leaves node failure detection at what Kubernetes has
	// by default (some 50 s) instead of the 6 s that suit tests.
	KubernetesTimings bool
	// APIServerArgs are appended to the API server's arguments.
	APIServerArgs []string
	// FeatureGates go to the control plane.
	FeatureGates map[string]bool
	// Plugins is the folder with the standard CNI plugins, by default
	// Debian's /usr/lib/cni.
	Plugins string
	// Out is told what goes on.
	Out io.Writer
}

// The service ranges, and the cluster's DNS server in each.
var (
	serviceRange4 = netip.MustParsePrefix("10.96.0.0/16")
	serviceRange6 = netip.MustParsePrefix("fd77:96::/112")
	podRange4     = netip.MustParsePrefix("10.244.0.0/16")
	podRange6     = netip.MustParsePrefix("fd77:244::/48")
)

// Failure detection for tests: NotReady 6 to 8 s after a power cut.
const (
	gracePeriod = 6 * time.Second
	checkPeriod = time.Second
)

func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("Options.Dir is empty: say where disks and logs go")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("the cluster's folder: %w", err)
	}
	o.Dir = dir
	setDefault(&o.Count, 3)
	setDefault(&o.Family, IPv4)
	setDefault(&o.ProxyMode, "nftables")
	if o.Out == nil {
		o.Out = io.Discard
	}
	if !slices.Contains([]IPFamily{IPv4, IPv6, Dual}, o.Family) {
		return fmt.Errorf("IP family %q: say ipv4, ipv6 or dual", o.Family)
	}
	if !slices.Contains([]string{"nftables", "iptables"}, o.ProxyMode) {
		return fmt.Errorf("kube-proxy mode %q: say nftables or iptables", o.ProxyMode)
	}
	if o.Count < 1 || o.Count > 100 {
		return fmt.Errorf("%d nodes: say 1 to 100", o.Count)
	}
	if len(o.PodRanges) == 0 {
		o.PodRanges = o.Family.choose(podRange4, podRange6)
	}
	return o.checkPodRanges()
}

func (o *Options) checkPodRanges() error {
	want := o.Family.choose(podRange4, podRange6)
	if len(o.PodRanges) != len(want) {
		return fmt.Errorf("%d pod ranges for %s: say one of each family", len(o.PodRanges), o.Family)
	}
	for i, r := range o.PodRanges {
		if r.Addr().Is4() != want[i].Addr().Is4() {
			return fmt.Errorf("pod range %s: an %s cluster has IPv4 first, then IPv6", r, o.Family)
		}
		if most := perNode(r) - 7; o.ReferenceCNI && r.Bits() > most {
			return fmt.Errorf("pod range %s is too small for a /%d on each node: it may be a /%d at most", r, perNode(r), most)
		}
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// choose returns what belongs to the family, IPv4 first.
func (f IPFamily) choose(four, six netip.Prefix) []netip.Prefix {
	switch f {
	case IPv4:
		return []netip.Prefix{four}
	case IPv6:
		return []netip.Prefix{six}
	default:
		return []netip.Prefix{four, six}
	}
}

func join[T fmt.Stringer](list []T) string {
	var words []string
	for _, one := range list {
		words = append(words, one.String())
	}
	return strings.Join(words, ",")
}

// perNode is the length of one node's part of a pod range.
func perNode(r netip.Prefix) int {
	if r.Addr().Is4() {
		return 24
	}
	return 64
}

// pluginsDir finds the standard CNI plugins.
func (o *Options) pluginsDir() (string, error) {
	candidates := []string{"/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"}
	if o.Plugins != "" {
		candidates = []string{o.Plugins}
	}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "loopback")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("the standard CNI plugins are not in %s: apt-get install containernetworking-plugins", strings.Join(candidates, " or "))
}
