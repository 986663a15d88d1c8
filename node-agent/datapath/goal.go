// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

const (
	defaultUnderlayMTU = 1500
	// What VXLAN puts around a frame: the frame's own header, VXLAN's, UDP's
	// and the outer IP header.
	overhead4 = 14 + 8 + 8 + 20
	overhead6 = 14 + 8 + 8 + 40
)

// podMTU is what fits a pod's packet over an underlay.
func (o Options) podMTU(underlay int, tunnel netip.Addr) int {
	switch {
	case o.MTU != 0:
		return o.MTU
	case o.Encapsulation == Direct:
		return underlay
	case tunnel.Is6():
		return max(underlay-overhead6, minMTU)
	default:
		return max(underlay-overhead4, minMTU)
	}
}

// tunnelAddress is the underlay address that a peer's tunnels end at: the first
// of IPv4 if there is one, so that both ends choose the same family.
func tunnelAddress(addrs []netip.Addr, six bool) netip.Addr {
	at := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Is6() == six })
	if at < 0 {
		return netip.Addr{}
	}
	return addrs[at]
}

// vtep is this host's end of all tunnels.
type vtep struct {
	address netip.Addr
	mac     net.HardwareAddr
	below   hostInterface
}

// ownVTEP chooses it from the host's addresses and interfaces. Two hosts never
// choose alike, since no two have an underlay address (or network card) alike.
func (o Options) ownVTEP(addrs []netip.Addr, interfaces []hostInterface) (vtep, error) {
	var v vtep
	for _, six := range []bool{false, true} {
		if v.address = tunnelAddress(addrs, six); v.address.IsValid() {
			break
		}
	}
	if !v.address.IsValid() {
		return v, errors.New("this host has no underlay address")
	}
	at := slices.IndexFunc(interfaces, func(i hostInterface) bool { return i.has(v.address) })
	if at < 0 {
		return v, fmt.Errorf("underlay address %s is on no interface of this host", v.address)
	}
	v.below = interfaces[at]
	v.mac = vtepMAC(v.address)
	if o.Encapsulation != VXLAN {
		mac, err := net.ParseMAC(v.below.mac)
		switch {
		case err == nil:
			v.mac = mac
		case o.Encapsulation == Direct:
			return v, fmt.Errorf("direct routing is refused: %s, which has %s, shows no hardware addresses to tell peers apart by: use --encapsulation=vxlan",
				v.below.name, v.address)
		}
	}
	return v, nil
}

func (i hostInterface) has(a netip.Addr) bool {
	return slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Addr() == a })
}

// onLink says whether an address is a neighbour's on this interface.
func (i hostInterface) onLink(a netip.Addr) bool {
	return slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Contains(a) && p.Addr() != a })
}

// builder makes the goal of a Set.
type builder struct {
	opts Options
	d    Desired
	vtep vtep
	goal state
	// taken says whom a destination is routed to, held which ones pods here have.
	taken map[netip.Prefix]string
	held  map[netip.Prefix]bool
	vteps map[string]string
	errs  []error
}

// goalOf says what the kernel should hold, given what is desired and what is
// there. What cannot be done is left out and reported; the rest is done.
func goalOf(opts Options, d Desired, now state) (state, error) {
	v, err := opts.ownVTEP(d.Underlay, now.interfaces)
	if err != nil {
		return state{}, err
	}
	b := builder{opts: opts, d: d, vtep: v, taken: map[netip.Prefix]string{}, held: map[netip.Prefix]bool{}, vteps: map[string]string{v.mac.String(): d.Name}}
	b.goal.pods, b.goal.interfaces = now.pods, now.interfaces
	b.goal.addresses = d.HostAddresses
	b.goal.filter = &filter{rules: opts.rulesVersion(), pools: merged(d.Pools)}
	b.goal.device = &device{
		name: opts.Device, mac: v.mac.String(), local: v.address, vni: opts.VNI, port: opts.Port, mtu: opts.podMTU(v.below.mtu, v.address), up: true,
	}
	for _, p := range d.Own {
		if b.take(p, d.Name) {
			b.goal.routes = append(b.goal.routes, route{dst: p, blackhole: true, metric: blackholeMetric})
		}
	}
	b.pods(now.routes)
	for _, r := range d.Remotes {
		if err := b.remote(r); err != nil {
			b.errs = append(b.errs, fmt.Errorf("peer %s: %w", r.Name, err))
		}
	}
	return b.goal, errors.Join(b.errs...)
}

// merged joins prefixes that overlap or touch, as a set of intervals holds them.
func merged(prefixes []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		return prefixes // not valid ones: refused before
	}
	return set.Prefixes()
}

// take says that a destination is whose; false if it is another's already.
func (b *builder) take(p netip.Prefix, whose string) bool {
	if other, taken := b.taken[p]; taken {
		b.errs = append(b.errs, fmt.Errorf("range %s is both %s's and %s's: routing it to %s", p, other, whose, other))
		return false
	}
	b.taken[p] = whose
	return true
}

// pods gives every live pod its routes. Where two claim an address the one that
// has the route keeps it.
func (b *builder) pods(now []route) {
	node := b.d.nodeState(0)
	holder := map[netip.Prefix]string{}
	for _, r := range now {
		if !r.blackhole && !r.via.IsValid() && r.dst.IsSingleIP() {
			holder[r.dst] = r.dev
		}
	}
	for _, first := range []bool{true, false} {
		for _, a := range b.goal.pods {
			if a.Dying || !a.Up {
				continue
			}
			for _, addr := range a.Addresses {
				p := netip.PrefixFrom(addr, addr.BitLen())
				if b.held[p] || first != (holder[p] == a.HostIf) {
					continue
				}
				b.held[p] = true
				b.goal.routes = append(b.goal.routes, route{dst: p, dev: a.HostIf, src: node.source(addr)})
			}
		}
	}
}

// nodeState is what pods' routes depend on.
func (d Desired) nodeState(mtu int) *nodeState {
	return &nodeState{mtu: mtu, sources: slices.Concat(d.Underlay, d.HostAddresses), pools: d.Pools}
}

// remote adds the ways to and from another peer.
func (b *builder) remote(r Remote) error {
	mac, err := net.ParseMAC(r.VTEP)
	if err != nil || len(mac) != 6 {
		return fmt.Errorf("%q is not a hardware address: its agent has not reported yet, or not well", r.VTEP)
	}
	if err := r.validate(); err != nil {
		return err
	}
	if other, taken := b.vteps[mac.String()]; taken {
		return fmt.Errorf("it has the hardware address %s, and so has %s: give one machine's network card another", mac, other)
	}
	b.vteps[mac.String()] = r.Name
	b.goal.filter.peers = append(b.goal.filter.peers, r.Underlay...)
	direct := b.opts.direct() && takesDirect(r.VTEP)
	hop := hop{mac: mac, tunnel: tunnelAddress(r.Underlay, b.vtep.address.Is6())}
	var errs []error
	var from []netip.Prefix
	for _, p := range r.Ranges {
		if !b.take(p, r.Name) {
			continue
		}
		if b.held[p] {
			errs = append(errs, fmt.Errorf("%s is held by a pod of this host: routing it there", p))
			continue
		}
		from = append(from, p)
		if via := b.neighbourOf(r, p); direct && via.IsValid() {
			b.goal.routes = append(b.goal.routes, route{dst: p, via: via, dev: b.vtep.below.name, src: b.source(p)})
			continue
		}
		errs = append(errs, b.tunnel(&hop, r, p))
	}
	if direct {
		for _, p := range merged(from) { // a set of intervals holds no two that overlap
			b.goal.filter.direct = append(b.goal.filter.direct, directSource{from: p, mac: mac.String()})
		}
	}
	return errors.Join(errs...)
}

// hop is a remote VTEP and what has been set up for it.
type hop struct {
	mac        net.HardwareAddr
	tunnel     netip.Addr
	neighbours []netip.Addr
}

// neighbourOf is the address by which a peer is reached directly, for packets
// of p's family, if it is on our underlay's link.
func (b *builder) neighbourOf(r Remote, p netip.Prefix) netip.Addr {
	for _, six := range []bool{p.Addr().Is6(), true} { // an IPv6 hop serves both
		for _, a := range r.Underlay {
			if a.Is6() == six && b.vtep.below.mac != "" && b.vtep.below.onLink(a) {
				return a
			}
		}
	}
	return netip.Addr{}
}

func (b *builder) source(p netip.Prefix) netip.Addr {
	return (&nodeState{sources: b.d.HostAddresses}).source(p.Addr())
}

// tunnel routes a range through the remote's VTEP. The next hop is only a name
// for its hardware address: the tunnel's end where that is of the range's
// family, since people know it, else a link-local address.
func (b *builder) tunnel(h *hop, r Remote, p netip.Prefix) error {
	if b.opts.Encapsulation == Direct {
		return fmt.Errorf("%s cannot be routed directly: none of %v is on the network of %s, or it takes no direct traffic: use --encapsulation=auto",
			p, r.Underlay, b.vtep.below.name)
	}
	if !h.tunnel.IsValid() {
		return fmt.Errorf("none of %v is of the family of this host's %s: give all nodes an address of one family", r.Underlay, b.vtep.address)
	}
	via := h.tunnel
	if via.Is6() || p.Addr().Is6() {
		via = linkLocal(h.mac)
	}
	if len(h.neighbours) == 0 {
		b.goal.forwards = append(b.goal.forwards, forward{mac: h.mac.String(), dst: h.tunnel})
	}
	if !slices.Contains(h.neighbours, via) {
		h.neighbours = append(h.neighbours, via)
		b.goal.neighbours = append(b.goal.neighbours, neighbour{addr: via, mac: h.mac.String()})
	}
	b.goal.routes = append(b.goal.routes, route{dst: p, via: via, dev: b.opts.Device, onlink: true, src: b.source(p)})
	return nil
}

// report is what a host tells the other peers: those of its node's addresses
// that it has, the one that tunnels end at first, and its VTEP's hardware
// address.
func (o Options) report(nodeAddrs []netip.Addr, interfaces []hostInterface) ([]netip.Addr, string, error) {
	var mine []netip.Addr
	for _, a := range nodeAddrs {
		if validUnderlay(a) == nil && slices.ContainsFunc(interfaces, func(i hostInterface) bool { return i.has(a) }) {
			mine = append(mine, a)
		}
	}
	if len(mine) == 0 {
		return nil, "", fmt.Errorf("none of the node's addresses %v is on an interface of this host: "+
			"is the agent on the host's network, and the kubelet's --node-ip right?", nodeAddrs)
	}
	v, err := o.ownVTEP(mine, interfaces)
	if err != nil {
		return nil, "", err
	}
	slices.SortStableFunc(mine, func(a, b netip.Addr) int { return rank(a, v.address) - rank(b, v.address) })
	return mine, v.mac.String(), nil
}

// rank is 0 for the chosen address.
func rank(a, chosen netip.Addr) int {
	if a == chosen {
		return 0
	}
	return 1
}
