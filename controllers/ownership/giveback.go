// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"cmp"
	"net/netip"
	"slices"
)

// askBack asks the peers with the most idle space, when pool has none free:
// for a whole idle range, else for the upper half of one. The range that holds
// a peer's own address is never idle: that address counts as used.
func (d *decider) askBack(pool *Pool, lacking []need) {
	if len(lacking) == 0 {
		return
	}
	asked, from := d.askedBack(pool)
	offers := d.offers(pool)
	for asked < len(lacking) && len(offers) > 0 {
		o := offers[0]
		offers = offers[1:]
		keep := o.keep
		after := *o.r
		after.Keep = &keep
		if i, ok := d.write(UpdateRange{*o.r, after}); ok {
			asked++
			from = append(from, o.r.Owner.Name)
			d.event(i, o.peer.Object, kindPeer, EventAskedBack, "%s of pool %s: %s, for %s", o.r.CIDR, pool.Name, describeKeep(&keep), namesOf(lacking))
		}
	}
	slices.Sort(from)
	from = slices.Compact(from)
	for _, n := range lacking {
		if len(from) > 0 {
			d.wait(kindPeer, n.peer.Name, "WaitingForSpace", 0, "pool %s has no free space: waiting for %s to give an idle range back", pool.Name, enumerate(from))
		} else {
			d.wait(kindPeer, n.peer.Name, "PoolExhausted", 0, "pool %s has no free space and no peer has an idle range: add a pool, or remove peers", pool.Name)
		}
	}
	if len(from) == 0 {
		d.wait(kindPool, pool.Name, WaitExhausted, 0, "no free space, and no peer has an idle range; %s lack addresses: add a pool, or remove peers", namesOf(lacking))
	}
}

// askedBack counts what is on its way back, and names who was asked.
func (d *decider) askedBack(pool *Pool) (n int, from []string) {
	for _, r := range d.ranges {
		if r.Pool != pool.Name || r.Epoch == 0 || r.Deleting {
			continue
		}
		switch {
		case r.Owner == (Ref{}):
			if len(r.Reserved) == 0 {
				n++ // about to be free
			}
		case r.Keep != nil || d.promised(r):
			if p := d.byUID[r.Owner.UID]; p != nil && d.live(p) {
				n++
				from = append(from, r.Owner.Name)
			}
		}
	}
	return n, from
}

// offer is a range that can be asked for, and what its owner keeps of it.
type offer struct {
	peer *Peer
	r    *Range
	keep netip.Prefix
	idle int64
}

// offers are what may be asked for: whole ranges first, then of the peer with
// the most idle space.
func (d *decider) offers(pool *Pool) []offer {
	var out []offer
	for i := range d.s.Peers {
		p := &d.s.Peers[i]
		if !d.drawsFrom(p, pool) {
			continue
		}
		h := d.holding(p, pool)
		if o, ok := d.offer(p, pool, h); ok {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b offer) int {
		if a.keep.IsValid() != b.keep.IsValid() {
			if b.keep.IsValid() {
				return -1
			}
			return 1
		}
		return cmp.Or(-cmp.Compare(a.idle, b.idle), cmp.Compare(a.peer.Name, b.peer.Name))
	})
	return out
}

// offer is the best that p has: its largest idle range, else half of one that
// is hardly used; so that p keeps its headroom. One thing at a time.
func (d *decider) offer(p *Peer, pool *Pool, h holding) (best offer, ok bool) {
	spare := h.free - lowWater(p, pool)
	for _, r := range h.ranges {
		if r.Keep != nil || d.promised(r) || r.ObservedEpoch != r.Epoch {
			return offer{}, false // its agent has yet to answer, or to take it in
		}
		if r.Deleting || len(r.Reserved) > 0 {
			continue
		}
		whole := r.Used == 0 && size(r.CIDR) <= spare
		half := r.CIDR.Bits() < pool.First && size(r.CIDR)/2 <= spare && r.Used < size(r.CIDR)/4
		o := offer{peer: p, r: r, idle: h.free}
		if !whole {
			o.keep = netip.PrefixFrom(r.CIDR.Addr(), r.CIDR.Bits()+1)
		}
		switch {
		case !whole && !half:
		case !ok, whole && best.keep.IsValid(), whole == !best.keep.IsValid() && size(r.CIDR) > size(best.r.CIDR):
			best, ok = o, true
		}
	}
	return best, ok
}

// withdrawAsks takes back what was asked for and is no longer lacking. A seal
// that the agent makes meanwhile stands all the same: only a new epoch undoes
// it, so what it promises is then taken.
func (d *decider) withdrawAsks(pool *Pool) {
	for _, r := range d.ranges {
		if r.Pool == pool.Name && r.Keep != nil && r.Owner != (Ref{}) && !r.Deleting && !d.promised(r) {
			after := *r
			after.Keep = nil
			d.write(UpdateRange{*r, after})
		}
	}
}

// promised: the owner has sealed part of r, in this epoch.
func (d *decider) promised(r *Range) bool {
	s := r.Sealed
	if !d.cfg.on(ruleGiveBackSealed) && r.Keep != nil {
		return true
	}
	return s != nil && s.Epoch == r.Epoch && s.Keep != r.CIDR &&
		(!s.Keep.IsValid() || s.Keep.Addr() == r.CIDR.Addr() && s.Keep.Bits() > r.CIDR.Bits())
}

// giveBack takes what owners have sealed: the owner away, or the upper part.
func (d *decider) giveBack() {
	if d.unsettled != "" {
		return
	}
	for _, r := range d.ranges {
		if r.Owner == (Ref{}) || r.Deleting || !d.promised(r) {
			continue
		}
		keep := netip.Prefix{}
		if r.Sealed != nil {
			keep = r.Sealed.Keep
		}
		if !keep.IsValid() {
			after := withOwner(d.cfg, r, Ref{})
			if i, ok := d.write(UpdateRange{*r, after}); ok {
				d.event(i, Object{Name: r.Owner.Name, UID: r.Owner.UID}, kindPeer, EventGaveBack, "%s of pool %s", r.CIDR, r.Pool)
			}
			continue
		}
		if d.cfg.on(ruleReservedStay) && slices.ContainsFunc(r.Reserved, func(res Reservation) bool { return !keep.Contains(res.Address) }) {
			continue
		}
		after := *r
		after.CIDR, after.Keep = keep, nil
		if i, ok := d.write(UpdateRange{*r, after}); ok {
			d.event(i, Object{Name: r.Owner.Name, UID: r.Owner.UID}, kindPeer, EventGaveBack, "%s shrinks to %s", r.CIDR, keep)
		}
	}
}
