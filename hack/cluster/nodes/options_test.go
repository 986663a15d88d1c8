// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"net/netip"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestOptionsAreCompletedOrRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		refused string
		ranges  string
	}{
		{name: "nothing said", options: Options{Dir: "d"}, ranges: "10.244.0.0/16"},
		{name: "both families", options: Options{Dir: "d", Family: Dual}, ranges: "10.244.0.0/16,fd77:244::/48"},
		{name: "own ranges", options: Options{Dir: "d", PodRanges: []netip.Prefix{netip.MustParsePrefix("10.32.0.0/12")}}, ranges: "10.32.0.0/12"},
		{name: "no folder", refused: "Options.Dir"},
		{name: "a family that is none", options: Options{Dir: "d", Family: "both"}, refused: "ipv4, ipv6 or dual"},
		{name: "a mode that is none", options: Options{Dir: "d", ProxyMode: "ipvs"}, refused: "nftables or iptables"},
		{name: "too many", options: Options{Dir: "d", Count: 101}, refused: "1 to 100"},
		{name: "a range of the other family", options: Options{Dir: "d", Family: IPv6, PodRanges: []netip.Prefix{podRange4}}, refused: "IPv4 first"},
		{name: "too few ranges", options: Options{Dir: "d", Family: Dual, PodRanges: []netip.Prefix{podRange4}}, refused: "one of each"},
		{name: "a small range", options: Options{Dir: "d", ReferenceCNI: true, PodRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/20")}}, refused: "too small"},
		{name: "a small range that is not cut up", options: Options{Dir: "d", PodRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/20")}}, ranges: "10.0.0.0/20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.options.complete()
			if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Fatalf("%v, want %q", err, c.refused)
			}
			if got := join(c.options.PodRanges); c.refused == "" && got != c.ranges {
				t.Errorf("pod ranges %s, want %s", got, c.ranges)
			}
		})
	}
}

func TestEachNodeHasItsPartOfThePodRanges(t *testing.T) {
	for _, c := range []struct {
		whole string
		bits  int
		index int
		want  string
	}{
		{"10.244.0.0/16", 24, 1, "10.244.1.0/24"},
		{"10.244.0.0/16", 24, 100, "10.244.100.0/24"},
		{"10.244.0.0/17", 24, 100, "10.244.100.0/24"},
		{"10.32.0.0/12", 24, 100, "10.32.100.0/24"},
		{"fd77:244::/48", 64, 100, "fd77:244:0:64::/64"},
	} {
		if got := part(netip.MustParsePrefix(c.whole), c.bits, c.index); got.String() != c.want {
			t.Errorf("part %d of %s is %s, want %s", c.index, c.whole, got, c.want)
		}
	}
}

func TestTwoFoldersAreTwoClusters(t *testing.T) {
	if claimName("/a") == claimName("/b") {
		t.Errorf("both are called %s", claimName("/a"))
	}
}

// What a node's programs read is checked by themselves; that it is YAML at all,
// here.
func TestConfigurationsAreYAML(t *testing.T) {
	for _, fast := range []bool{true, false} {
		s := settings{
			Node: "node1", Dir: "/dir", PauseImage: PauseImage, ProxyMode: "nftables", PodRanges: "10.244.0.0/16", BindAddress: "::",
			DNS: []netip.Addr{tenth(serviceRange4), tenth(serviceRange6)}, FastDetection: fast,
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd77:244:0:1::/64")},
		}
		for _, name := range []string{"kubelet.yaml", "kube-proxy.yaml", "reference.conflist"} {
			path := t.TempDir() + "/" + name
			if err := s.render(name, path); err != nil {
				t.Fatal(err)
			}
			data := readFile(t, path)
			var into map[string]any
			if err := yaml.UnmarshalStrict(data, &into); err != nil {
				t.Errorf("%s: %v\n%s", name, err, data)
			}
			if _, ok := into["nodeLeaseDurationSeconds"]; name == "kubelet.yaml" && ok != fast {
				t.Errorf("with fast detection %t, a lease's duration is set: %t", fast, ok)
			}
		}
	}
	if got := join([]netip.Addr{tenth(serviceRange4), tenth(serviceRange6)}); got != "10.96.0.10,fd77:96::a" {
		t.Errorf("the DNS servers are %s", got)
	}
}
