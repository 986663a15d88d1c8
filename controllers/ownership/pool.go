// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"net/netip"
	"slices"
)

// acceptPools leads each pool to being accepted: finalizer, claim, LIST,
// accept, a write each. Of two pools that overlap at most one is accepted,
// with any number of controllers: both claims stand before either LIST that
// shows one alone, and a claim that is withdrawn has a new version.
func (d *decider) acceptPools() {
	pools := make([]*Pool, 0, len(d.s.Pools))
	for i := range d.s.Pools {
		pools = append(pools, &d.s.Pools[i])
	}
	slices.SortFunc(pools, func(a, b *Pool) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	for _, p := range pools {
		switch {
		case p.Deleting:
			d.releasePool(p, d.cutFrom(p))
		case p.Accepted || !p.CIDR.IsValid():
		case !p.Finalizer:
			after := *p
			after.Finalizer = true
			d.write(UpdatePool{*p, after})
		default:
			d.acceptPool(p, pools)
		}
	}
}

// cutFrom names the ranges of a pool.
func (d *decider) cutFrom(p *Pool) (out []string) {
	for _, r := range d.ranges {
		if r.Pool == p.Name {
			out = append(out, r.CIDR.String())
		}
	}
	return out
}

func (d *decider) releasePool(p *Pool, users []string) {
	if !p.Finalizer {
		return
	}
	if len(users) > 0 {
		d.wait(kindPool, p.Name, "InUse", 0, "deleted once no range is cut from it: %d are left (%s); remove the peers that own them, or let them give the ranges back", len(users), enumerate(users))
		return
	}
	after := *p
	after.Finalizer = false
	d.write(UpdatePool{*p, after})
}

func (d *decider) acceptPool(p *Pool, pools []*Pool) {
	after := *p
	if rival := d.rival(p, pools); rival != nil {
		d.wait(kindPool, p.Name, "Overlap", 0, "%s overlaps pool %s (%s): a pool is accepted only if it overlaps no other; delete one of them", p.CIDR, rival.Name, rival.CIDR)
		d.out.Waits[len(d.out.Waits)-1].Stalled = true
		if p.Claimed && (rival.Accepted || rival.Name < p.Name) {
			after.Claimed = false
			d.write(UpdatePool{*p, after})
		}
		return
	}
	if !p.Claimed {
		after.Claimed = true
		d.write(UpdatePool{*p, after})
		return
	}
	after.Accepted = true
	i, ok := d.write(UpdatePool{*p, after})
	if ok {
		d.event(i, p.Object, kindPool, EventAccepted, "%s is divided among the peers from now on", p.CIDR)
	}
}

// rival is the pool that p has to give way to, or to wait for: an accepted one
// first, then one that claims, then one that comes first by name.
func (d *decider) rival(p *Pool, pools []*Pool) *Pool {
	if !d.cfg.on(rulePoolOverlap) {
		return nil
	}
	var claims, first *Pool
	for _, q := range pools {
		if q.UID == p.UID || !q.CIDR.IsValid() || !q.CIDR.Overlaps(p.CIDR) {
			continue
		}
		switch {
		case q.Accepted:
			return q
		case q.Claimed && claims == nil:
			claims = q
		case q.Name < p.Name && !q.Deleting && first == nil:
			first = q
		}
	}
	if claims != nil {
		return claims
	}
	if !p.Claimed {
		return first
	}
	return nil
}

// divided are the pools that ranges are granted from, in order of names.
func (d *decider) divided() []*Pool {
	var out []*Pool
	for i := range d.s.Pools {
		if p := &d.s.Pools[i]; p.Accepted && !p.Deleting && p.CIDR.IsValid() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *Pool) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// shares reports whether p belongs to an accepted pool that is not deleted.
func (d *decider) shares(pool string, p netip.Prefix) bool {
	q := d.pools[pool]
	return q != nil && q.Accepted && !q.Deleting && q.CIDR.Bits() <= p.Bits() && q.CIDR.Contains(p.Addr())
}
