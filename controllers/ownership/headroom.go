// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"net/netip"
	"slices"
	"strings"
)

// need is one range that one peer lacks in one pool.
type need struct {
	peer *Peer
	pool *Pool
	bits int
	// first: the peer has nothing of this pool yet.
	first bool
}

// holding is what one peer has of one pool.
type holding struct {
	ranges []*Range
	// free is what it can still give to pods.
	free int64
}

// needs are the ranges that peers lack in a pool, in order of their names:
// those without any range come first.
func (d *decider) needs(pool *Pool) []need {
	var out []need
	for i := range d.s.Peers {
		p := &d.s.Peers[i]
		if !d.drawsFrom(p, pool) {
			continue
		}
		h := d.holding(p, pool)
		if len(h.ranges) > 0 && h.free >= lowWater(p, pool) {
			continue
		}
		bits := max(pool.First-len(h.ranges), pool.Max)
		out = append(out, need{peer: p, pool: pool, bits: bits, first: len(h.ranges) == 0})
	}
	slices.SortFunc(out, func(a, b need) int {
		if a.first != b.first {
			if a.first {
				return -1
			}
			return 1
		}
		return strings.Compare(a.peer.Name, b.peer.Name)
	})
	return out
}

// drawsFrom reports whether ranges of pool are granted to p: it is current,
// alive, on a node that the pool selects, and its name is not under removal.
func (d *decider) drawsFrom(p *Peer, pool *Pool) bool {
	if p.Deleting || !p.Finalizer || p.Removal != nil || !p.active() || !p.Report.Present || p.Report.Leaving || p.Report.Contender != "" {
		return false
	}
	node := d.nodes[p.Name]
	return node != nil && node.Pools[pool.Name] && d.keptOut(p) == nil && d.live(p)
}

func (p *Peer) active() bool { return p.Phase == "" || p.Phase == Active }

// holding counts what p has of pool. What is asked back does not count, since
// the agent gives nothing of it any more.
func (d *decider) holding(p *Peer, pool *Pool) holding {
	var h holding
	var used, capacity int64
	for _, r := range d.owned[p.UID] {
		if r.Pool != pool.Name {
			continue
		}
		h.ranges = append(h.ranges, r)
		used += r.Used
		capacity += size(usable(r)) - int64(len(r.Reserved))
	}
	h.free = capacity - max(used, p.Report.Pools[pool.Name].Used)
	return h
}

// usable is the part of r that is not asked back.
func usable(r *Range) netip.Prefix {
	keep := r.CIDR
	if r.Keep != nil {
		keep = *r.Keep
	}
	if s := r.Sealed; s != nil && s.Epoch == r.Epoch && (!s.Keep.IsValid() || !keep.IsValid() || s.Keep.Bits() > keep.Bits()) {
		keep = s.Keep
	}
	if !keep.IsValid() {
		return netip.PrefixFrom(r.CIDR.Addr(), r.CIDR.Addr().BitLen())
	}
	return keep
}

// lowWater is the number of free addresses below which p is granted another
// range of pool: what its agent asks for, else a quarter of the first range
// and at most 256; at least one.
func lowWater(p *Peer, pool *Pool) int64 {
	mark := p.Report.Headroom
	if mark < 0 {
		mark = min(size(netip.PrefixFrom(pool.CIDR.Addr(), pool.First))/4, 256)
	}
	return max(mark, 1)
}
