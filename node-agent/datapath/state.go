// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// state is what Set reads from the kernel and what it wants there. It holds
// only what is ours, except for what plans are made from: pods and interfaces.
type state struct {
	device     *device
	addresses  []netip.Addr // on the device
	routes     []route
	neighbours []neighbour // on the device
	forwards   []forward   // of the device
	filter     *filter     // nil: there is none

	pods       []Attachment
	interfaces []hostInterface
}

// device is the VXLAN device.
type device struct {
	name      string
	mac       string
	local     netip.Addr
	vni, port int
	learning  bool
	mtu       int
	up        bool
}

// route is a route of ours in the main table.
type route struct {
	dst netip.Prefix
	// blackhole swallows; otherwise packets go to dev, by way of via if it is
	// valid.
	blackhole bool
	via       netip.Addr
	dev       string
	onlink    bool
	src       netip.Addr
	metric    int
}

// routeKey is what a table holds one route of.
type routeKey struct {
	dst    netip.Prefix
	metric int
}

func (r route) key() routeKey { return routeKey{r.dst, r.metric} }

// neighbour is a permanent one on the device.
type neighbour struct {
	addr netip.Addr
	mac  string
}

// forward says where the device sends frames for a hardware address.
type forward struct {
	mac string
	dst netip.Addr
}

// filter is the nftables table.
type filter struct {
	// rules identifies the rules, as opposed to the contents of their sets.
	rules string
	// peers are the underlay addresses that tunnel packets are taken from.
	peers []netip.Addr
	// pools, with nothing mergeable left in them: what leaves them is
	// masqueraded, and what claims to come from them must come by our ways.
	pools []netip.Prefix
	// direct are the sources taken without encapsulation.
	direct []directSource
}

// directSource is a range and the network card of the peer that owns it.
type directSource struct {
	from netip.Prefix
	mac  string
}

// hostInterface is an interface of the host that is not ours.
type hostInterface struct {
	name string
	mtu  int
	// mac is empty where frames carry none.
	mac string
	// prefixes are its addresses, with the networks they are in.
	prefixes []netip.Prefix
}

func (d device) String() string {
	text := fmt.Sprintf("%s vxlan id %d port %d local %s mac %s mtu %d", d.name, d.vni, d.port, d.local, d.mac, d.mtu)
	if d.learning {
		text += " learning"
	}
	if !d.up {
		text += " down"
	}
	return text
}

func (r route) String() string {
	var b strings.Builder
	if r.blackhole {
		b.WriteString("blackhole ")
	}
	b.WriteString(r.dst.String())
	if r.via.IsValid() {
		fmt.Fprintf(&b, " via %s", r.via)
	}
	if r.dev != "" {
		fmt.Fprintf(&b, " dev %s", r.dev)
	}
	if r.onlink {
		b.WriteString(" onlink")
	}
	if r.src.IsValid() {
		fmt.Fprintf(&b, " src %s", r.src)
	}
	if r.metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.metric)
	}
	return b.String()
}

func (n neighbour) String() string    { return fmt.Sprintf("%s lladdr %s", n.addr, n.mac) }
func (f forward) String() string      { return fmt.Sprintf("%s dst %s", f.mac, f.dst) }
func (s directSource) String() string { return fmt.Sprintf("%s from %s", s.from, s.mac) }

// String renders what is ours, sorted: the same state is the same text.
func (s state) String() string {
	var b strings.Builder
	if s.device != nil {
		fmt.Fprintf(&b, "device %s\n", *s.device)
	}
	lines(&b, "address", s.addresses)
	lines(&b, "route", s.routes)
	lines(&b, "neighbour", s.neighbours)
	lines(&b, "fdb", s.forwards)
	if s.filter != nil {
		fmt.Fprintf(&b, "filter %s\n", s.filter.rules)
		lines(&b, "peer", s.filter.peers)
		lines(&b, "pool", s.filter.pools)
		lines(&b, "direct", s.filter.direct)
	}
	lines(&b, "pod", s.pods)
	return b.String()
}

// String shows an attachment as people want to see it.
func (a Attachment) String() string {
	text := fmt.Sprintf("%s %s %s %v on %s", a.Network, a.Sandbox, a.IfName, a.Addresses, a.HostIf)
	if !a.Up {
		text += " down"
	}
	if a.Dying {
		text += " dying"
	}
	return text
}

func lines[T fmt.Stringer](b *strings.Builder, what string, all []T) {
	texts := make([]string, len(all))
	for i, x := range all {
		texts[i] = what + " " + x.String() + "\n"
	}
	slices.Sort(texts)
	for _, t := range texts {
		b.WriteString(t)
	}
}
