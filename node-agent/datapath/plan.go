// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// op is what a step does.
type op string

// The order in which a plan has them. Who is no longer a peer stops being heard
// before anything else changes, and who is new is heard last. Between the two,
// ways are made before others are unmade, so that no packet whose way stays the
// same is without one.
const (
	filterShrink  op = "filter shrink"
	filterReplace op = "filter replace"
	deviceDelete  op = "device delete"
	deviceCreate  op = "device create"
	deviceChange  op = "device change"
	addressAdd    op = "address add"
	forwardDelete op = "fdb delete"
	forwardSet    op = "fdb set"
	neighbourSet  op = "neighbour set"
	routeAdd      op = "route add"
	routeReplace  op = "route replace"
	routeDelete   op = "route delete"
	neighbourDel  op = "neighbour delete"
	addressDelete op = "address delete"
	filterGrow    op = "filter grow"
)

// step is one change, with what it is about in the field of its kind.
type step struct {
	op        op
	device    device
	address   netip.Addr
	route     route
	neighbour neighbour
	forward   forward
	// filter is the whole of a new filter.
	filter filter
	// change is about an existing one's sets.
	change filterChange
}

// filterChange is the difference between two filters with the same rules. All
// of one is done in one transaction.
type filterChange struct {
	peersGone, peersNew   []netip.Addr
	directGone, directNew []directSource
	// pools replace the former ones, if set is true.
	pools []netip.Prefix
	set   bool
}

func (c filterChange) empty() bool {
	return len(c.peersGone)+len(c.peersNew)+len(c.directGone)+len(c.directNew) == 0 && !c.set
}

func (s step) String() string {
	switch s.op {
	case filterReplace:
		return fmt.Sprintf("%s %s: %d peers, pools %v, %d direct", s.op, s.filter.rules, len(s.filter.peers), s.filter.pools, len(s.filter.direct))
	case filterShrink, filterGrow:
		return string(s.op) + s.change.String()
	case deviceCreate, deviceChange:
		return fmt.Sprintf("%s %s", s.op, s.device)
	case addressAdd, addressDelete:
		return fmt.Sprintf("%s %s", s.op, s.address)
	case forwardSet, forwardDelete:
		return fmt.Sprintf("%s %s", s.op, s.forward)
	case neighbourSet, neighbourDel:
		return fmt.Sprintf("%s %s", s.op, s.neighbour)
	case routeAdd, routeReplace, routeDelete:
		return fmt.Sprintf("%s %s", s.op, s.route)
	default:
		return string(s.op)
	}
}

func (c filterChange) String() string {
	var b strings.Builder
	list(&b, "-peer", c.peersGone)
	list(&b, "+peer", c.peersNew)
	list(&b, "-direct", c.directGone)
	list(&b, "+direct", c.directNew)
	if c.set {
		fmt.Fprintf(&b, " pools %v", c.pools)
	}
	return b.String()
}

func list[T fmt.Stringer](b *strings.Builder, what string, all []T) {
	for _, x := range all {
		fmt.Fprintf(b, " %s %s", what, x)
	}
}

// plan lists the steps from now to goal. Unless prune is set nothing is taken
// away, only added and put right.
func plan(now, goal state, prune bool) []step {
	p := planner{prune: prune}
	p.filter(now.filter, goal.filter)
	switch p.device(now.device, goal.device) {
	case deviceCreate: // what was on the old one went with it
		now = now.without(goal.device.name)
	case deviceChange:
		if now.device.mac != goal.device.mac { // the kernel forgets the neighbours
			now.neighbours = nil
		}
	}
	gone, added := difference(now.addresses, goal.addresses)
	for _, a := range added {
		p.add(step{op: addressAdd, address: a})
	}
	p.forwards(now.forwards, goal.forwards)
	p.neighbours(now.neighbours, goal.neighbours)
	p.routes(now.routes, goal.routes)
	p.removeNeighbours(now, goal)
	for _, a := range gone {
		p.remove(step{op: addressDelete, address: a})
	}
	if !p.grow.empty() {
		p.add(step{op: filterGrow, change: p.grow})
	}
	return p.steps
}

type planner struct {
	prune bool
	steps []step
	// grow is the last change of the filter.
	grow filterChange
}

func (p *planner) add(s step) { p.steps = append(p.steps, s) }

func (p *planner) remove(s step) {
	if p.prune {
		p.add(s)
	}
}

// difference is what only now has and what only goal has, in their order.
func difference[T comparable](now, goal []T) (gone, added []T) {
	in := func(all []T) map[T]bool {
		m := make(map[T]bool, len(all))
		for _, x := range all {
			m[x] = true
		}
		return m
	}
	had, wanted := in(now), in(goal)
	for _, x := range now {
		if !wanted[x] {
			gone = append(gone, x)
		}
	}
	for _, x := range goal {
		if !had[x] {
			added = append(added, x)
			had[x] = true
		}
	}
	return gone, added
}

// filter stops hearing who is no longer a peer, or puts a whole new filter
// in place of one with other rules.
func (p *planner) filter(now, goal *filter) {
	if now == nil || now.rules != goal.rules {
		all := *goal
		if now != nil && !p.prune {
			all = all.union(*now)
		}
		p.add(step{op: filterReplace, filter: all})
		return
	}
	var c filterChange
	if p.prune {
		c.peersGone, _ = difference(now.peers, goal.peers)
		c.directGone, c.directNew = narrowed(now.direct, goal.direct)
	}
	pools := goal.pools
	if !p.prune {
		pools = merged(slices.Concat(now.pools, goal.pools))
	}
	if !slices.Equal(now.pools, pools) {
		c.pools, c.set = pools, true
	}
	if !c.empty() {
		p.add(step{op: filterShrink, change: c})
		now = now.after(c)
	}
	// Then, last of all, who is new begins to be heard.
	c = filterChange{}
	_, c.peersNew = difference(now.peers, goal.peers)
	c.directGone, c.directNew = difference(now.direct, goal.direct)
	if !p.prune { // what stands may be as wide as what is wanted, or wider
		c.directNew = slices.DeleteFunc(c.directNew, func(d directSource) bool { return d.within(now.direct) })
		c.directGone = slices.DeleteFunc(c.directGone, func(d directSource) bool { return !d.within(c.directNew) })
	}
	p.grow = c
}

// narrowed is how to get from now to what now and goal have in common: ranges
// that shrink stay heard in the part that stays, and ranges that grow as they
// are until they grow.
func narrowed(now, goal []directSource) (gone, added []directSource) {
	all, wanted := difference(now, goal)
	for _, d := range all {
		if !d.within(goal) {
			gone = append(gone, d)
		}
	}
	for _, d := range wanted {
		if d.within(gone) {
			added = append(added, d)
		}
	}
	return gone, added
}

// within says whether one of others covers it.
func (s directSource) within(others []directSource) bool {
	return slices.ContainsFunc(others, func(o directSource) bool {
		return o.mac == s.mac && o.from.Bits() <= s.from.Bits() && o.from.Contains(s.from.Addr())
	})
}

// after is the filter after a change.
func (f filter) after(c filterChange) *filter {
	f.peers, _ = difference(f.peers, c.peersGone)
	f.direct, _ = difference(f.direct, c.directGone)
	f.peers, f.direct = slices.Concat(f.peers, c.peersNew), slices.Concat(f.direct, c.directNew)
	if c.set {
		f.pools = c.pools
	}
	return &f
}

func (f filter) union(other filter) filter {
	_, peers := difference(f.peers, other.peers)
	_, direct := difference(f.direct, other.direct)
	f.peers, f.direct = slices.Concat(f.peers, peers), slices.Concat(f.direct, direct)
	f.pools = merged(slices.Concat(f.pools, other.pools))
	return f
}

// device makes or changes the VXLAN device, and says which.
func (p *planner) device(now, goal *device) op {
	if now != nil && !now.becomes(*goal) {
		p.add(step{op: deviceDelete})
		now = nil
	}
	switch {
	case now == nil:
		p.add(step{op: deviceCreate, device: *goal})
		return deviceCreate
	case *now != *goal:
		p.add(step{op: deviceChange, device: *goal})
		return deviceChange
	}
	return ""
}

// becomes says whether the kernel can change d into goal.
func (d device) becomes(goal device) bool {
	return d.vni == goal.vni && d.port == goal.port && d.learning == goal.learning && d.local.Is6() == goal.local.Is6()
}

// without is the state after the VXLAN device has gone.
func (s state) without(name string) state {
	s.addresses, s.neighbours, s.forwards = nil, nil, nil
	s.routes = slices.DeleteFunc(slices.Clone(s.routes), func(r route) bool { return r.dev == name })
	return s
}

// forwards sends frames to where VTEPs are.
func (p *planner) forwards(now, goal []forward) {
	there := map[string][]netip.Addr{}
	for _, f := range now {
		there[f.mac] = append(there[f.mac], f.dst)
	}
	for _, f := range goal {
		if len(there[f.mac]) > 1 { // someone added another: which one is used is chance
			for _, dst := range there[f.mac] {
				p.add(step{op: forwardDelete, forward: forward{f.mac, dst}})
			}
			there[f.mac] = nil
		}
		if !slices.Equal(there[f.mac], []netip.Addr{f.dst}) {
			p.add(step{op: forwardSet, forward: f})
		}
	}
}

func (p *planner) neighbours(now, goal []neighbour) {
	_, added := difference(now, goal)
	for _, n := range added {
		p.add(step{op: neighbourSet, neighbour: n})
	}
}

// routes adds, the narrowest first, then replaces, then removes, the widest
// first. So what covers an address after a change does so before what covered
// it goes or changes, also where ranges of different sizes overlap.
func (p *planner) routes(now, goal []route) {
	there := make(map[routeKey]route, len(now))
	for _, r := range now {
		there[r.key()] = r
	}
	wanted := make(map[routeKey]bool, len(goal))
	var added, replaced, removed []route
	for _, r := range goal {
		wanted[r.key()] = true
		old, exists := there[r.key()]
		switch {
		case !exists:
			added = append(added, r)
		case old != r:
			replaced = append(replaced, r)
		}
	}
	for _, r := range now {
		if !wanted[r.key()] {
			removed = append(removed, r)
		}
	}
	slices.SortStableFunc(added, func(a, b route) int { return b.dst.Bits() - a.dst.Bits() })
	slices.SortStableFunc(removed, func(a, b route) int {
		return cmp.Or(a.dst.Bits()-b.dst.Bits(), b.metric-a.metric)
	})
	for _, r := range added {
		p.add(step{op: routeAdd, route: r})
	}
	for _, r := range replaced {
		p.add(step{op: routeReplace, route: r})
	}
	for _, r := range removed {
		p.remove(step{op: routeDelete, route: r})
	}
}

// removeNeighbours forgets VTEPs that no route leads through any more.
func (p *planner) removeNeighbours(now, goal state) {
	addrs := map[netip.Addr]bool{}
	for _, n := range goal.neighbours {
		addrs[n.addr] = true
	}
	for _, n := range now.neighbours {
		if !addrs[n.addr] {
			p.remove(step{op: neighbourDel, neighbour: n})
		}
	}
	macs := map[string]bool{}
	for _, f := range goal.forwards {
		macs[f.mac] = true
	}
	for _, f := range now.forwards {
		if !macs[f.mac] {
			p.remove(step{op: forwardDelete, forward: f})
		}
	}
}
