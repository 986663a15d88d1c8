// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
)

// grant leads from claims to owners. A claim that overlaps nothing in this
// snapshot may be granted, whoever made it: of two claims that overlap the
// later one's LIST has shown the earlier. So no claim is remembered, and a
// crash between claim and grant loses nothing.
func (d *decider) grant() {
	blocked := d.verifyClaims()
	claims := map[string][]*Range{}
	for _, r := range d.ranges {
		if r.Epoch == 0 && r.Owner == (Ref{}) && !r.Deleting && !blocked[r] {
			claims[r.Pool] = append(claims[r.Pool], r)
		}
	}
	for _, pool := range d.divided() {
		d.grantFrom(pool, claims[pool.Name])
	}
	for _, r := range d.ranges {
		if r.Epoch == 0 {
			d.sweep(r)
		}
	}
}

// verifyClaims deletes claims that overlap another range, or hold a pod's
// address, or have no pool to belong to, and returns those that must wait.
func (d *decider) verifyClaims() map[*Range]bool {
	blocked := map[*Range]bool{}
	var around []*Range // the ranges that contain the next one, outermost first
	for _, r := range d.ranges {
		for len(around) > 0 && !around[len(around)-1].CIDR.Overlaps(r.CIDR) {
			around = around[:len(around)-1]
		}
		for _, outer := range around {
			if !d.cfg.on(ruleVerify) {
				break
			}
			switch {
			case outer.Epoch == 0:
				// A claim around another range: it gives way.
				blocked[outer], blocked[r] = true, true
				d.dropClaim(outer)
			case r.Epoch == 0:
				blocked[r] = true
				d.dropClaim(r)
			}
		}
		around = append(around, r)
	}
	for _, r := range d.ranges {
		if r.Epoch != 0 || blocked[r] {
			continue
		}
		carried := d.cfg.on(ruleVerifyPods) && len(d.podsIn(r.CIDR)) > 0
		if carried || !d.shares(r.Pool, r.CIDR) {
			blocked[r] = true
			d.dropClaim(r)
		}
	}
	return blocked
}

func (d *decider) dropClaim(r *Range) {
	if r.Epoch == 0 && r.Owner == (Ref{}) && !r.Deleting {
		d.write(DeleteRange{*r})
	}
}

// sweep deletes a claim that nobody has used for long.
func (d *decider) sweep(r *Range) {
	w := d.m.claims[r.Name]
	if w.uid != r.UID || w.version != r.Version {
		return
	}
	if until := w.since + d.cfg.ClaimTimeout; until > d.now {
		d.recheck(until)
		return
	}
	d.dropClaim(r)
}

// grantFrom serves the peers that lack space in pool, one range each: with a
// claim that stands, else by making one, else with what is left owner-less
// because of its reservations, else by asking others.
func (d *decider) grantFrom(pool *Pool, claims []*Range) {
	needs := d.needs(pool)
	if len(needs) == 0 {
		d.withdrawAsks(pool)
		return
	}
	if d.unsettled != "" {
		for _, n := range needs {
			d.wait(kindPeer, n.peer.Name, "AwaitingTerm", 0, "%s", d.unsettled)
		}
		return
	}
	unmet := d.grantClaims(needs, claims)
	if len(unmet) == 0 {
		return
	}
	free := freeSpace(pool.CIDR, d.ranges, func(p netip.Prefix) bool {
		return d.cfg.on(ruleVerifyPods) && len(d.podsIn(p)) > 0
	})
	var lacking []need
	for i, n := range unmet {
		if p, ok := d.pick(free, n, i); ok {
			d.write(CreateRange{Pool: pool.Name, CIDR: p})
			continue
		}
		lacking = append(lacking, n)
	}
	lacking = d.grantRest(lacking, claims)
	lacking = d.grantReserved(pool, lacking)
	d.askBack(pool, lacking)
}

// grantClaims gives each need a claim of its size, and returns the rest.
func (d *decider) grantClaims(needs []need, claims []*Range) (unmet []need) {
	bySize := map[int][]*Range{}
	for _, c := range claims {
		bySize[c.CIDR.Bits()] = append(bySize[c.CIDR.Bits()], c)
	}
	for _, n := range needs {
		if list := bySize[n.bits]; len(list) > 0 && d.grantRange(list[0], n) {
			bySize[n.bits] = list[1:]
			continue
		}
		unmet = append(unmet, n)
	}
	return unmet
}

// grantRest gives out claims of whatever size, when nothing is free.
func (d *decider) grantRest(needs []need, claims []*Range) (unmet []need) {
	for _, n := range needs {
		for len(claims) > 0 && d.written["AddressRange/"+claims[0].Name] {
			claims = claims[1:]
		}
		if len(claims) == 0 || !d.grantRange(claims[0], n) {
			unmet = append(unmet, n)
		}
	}
	return unmet
}

// grantReserved gives out what is owner-less because pods are still known to
// carry addresses in it: whole, reservations kept.
func (d *decider) grantReserved(pool *Pool, needs []need) (unmet []need) {
	var left []*Range
	if len(needs) > 0 {
		for _, r := range d.ranges {
			if r.Pool == pool.Name && r.Epoch > 0 && r.Owner == (Ref{}) && len(r.Reserved) > 0 && !r.Deleting &&
				!d.written["AddressRange/"+r.Name] && d.shares(r.Pool, r.CIDR) {
				left = append(left, r)
			}
		}
	}
	for _, n := range needs {
		if len(left) == 0 || !d.grantRange(left[0], n) {
			unmet = append(unmet, n)
			continue
		}
		left = left[1:]
	}
	return unmet
}

func (d *decider) grantRange(r *Range, n need) bool {
	i, ok := d.write(UpdateRange{*r, withOwner(d.cfg, r, Ref{n.peer.Name, n.peer.UID})})
	if ok {
		d.event(i, n.peer.Object, kindPeer, EventGranted, "%s of pool %s", r.CIDR, n.pool.Name)
	}
	return ok
}

// withOwner is r in another's hands.
func withOwner(cfg Config, r *Range, owner Ref) Range {
	after := *r
	after.Owner = owner
	if cfg.on(ruleEpoch) {
		after.Epoch++
	}
	if r.Owner != (Ref{}) {
		after.PreviousOwner = r.Owner
	}
	after.Keep = nil
	after.Reserved = slices.Clone(r.Reserved)
	return after
}

// pick takes a free block: of the size wanted, else the largest there is.
func (d *decider) pick(free *space, n need, nth int) (netip.Prefix, bool) {
	for bits := n.bits; bits <= n.pool.CIDR.Addr().BitLen(); bits++ {
		var p netip.Prefix
		var ok bool
		if d.cfg.Seed == 0 {
			p, ok = free.take(bits)
		} else {
			p, ok = free.takeAny(bits, func(of int) int { return d.draw(n.peer.UID, nth, of) })
		}
		if ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// draw is a number below of, the same for the same seed and circumstances.
func (d *decider) draw(name string, nth, of int) int {
	h := fnv.New64a()
	h.Write([]byte(name))
	x := h.Sum64() ^ d.cfg.Seed + uint64(nth)*0x9e3779b97f4a7c15
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	return int(x % uint64(of))
}

// namesOf are the peers that needs are about.
func namesOf(needs []need) string {
	names := make([]string, 0, len(needs))
	for _, n := range needs {
		names = append(names, n.peer.Name)
	}
	slices.Sort(names)
	return strings.TrimSpace(enumerate(names))
}
