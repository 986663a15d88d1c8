// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"testing"
)

var allFamilies = []families{
	{"IPv4 over IPv4", "4", "4"},
	{"IPv6 over IPv4", "4", "6"},
	{"both over IPv4", "4", "46"},
	{"both over IPv6", "6", "46"},
	{"both over both", "46", "46"},
}

// TestTraffic: pods on three hosts reach each other and the hosts, with small
// packets and with the largest that fit, in every mode and family.
func TestTraffic(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{VXLAN, Direct, Auto} {
		for _, f := range allFamilies {
			if mode == Direct && f.under == "4" && has(f.inner, "6") {
				continue // no next hop to route IPv6 to: see TestDirectNeedsTheFamily
			}
			t.Run(mode+" "+f.name, func(t *testing.T) { testTraffic(t, f, Options{Encapsulation: mode}) })
		}
	}
}

func testTraffic(t *testing.T, f families, opts Options) {
	t.Parallel()
	l := newLab(t, 3, f, opts)
	var pods []*pod
	for _, h := range l.hosts {
		pods = append(pods, h.pod(1))
	}
	pods = append(pods, l.hosts[0].pod(2))
	for _, from := range pods {
		for _, to := range pods {
			for i, a := range to.addrs {
				ask := from.ask(from.addrs[i], a)
				ask.answered(20)
				ask.dontFragment()
				ask.answered(payload(l.hosts[0], a))
			}
		}
	}
	for _, h := range l.hosts {
		for _, a := range h.hostAddrs {
			h.echo(a)
		}
	}
	for _, h := range l.hosts {
		for i, a := range pods[2].addrs {
			h.ask(netip.Addr{}, a).answered(20)                    // a node to a pod
			pods[2].ask(netip.Addr{}, h.hostAddrs[i]).answered(20) // a pod to a node
		}
	}
}

// payload is what fits an unfragmented packet between pods.
func payload(h *host, to netip.Addr) int {
	mtu := h.k.node.Load().mtu
	if to.Is4() {
		return mtu - 20 - 8
	}
	return mtu - 40 - 8
}
