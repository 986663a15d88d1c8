// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"go4.org/netipx"
)

// size is the number of addresses of p, at most 2^62.
func size(p netip.Prefix) int64 {
	bits := p.Addr().BitLen() - p.Bits()
	return 1 << min(bits, 62)
}

// podAddr is one address and the pod that carries it.
type podAddr struct {
	addr netip.Addr
	pod  *Pod
}

// podsIn are the pods that carry an address in p.
func (d *decider) podsIn(p netip.Prefix) []podAddr {
	from := sort.Search(len(d.podAddrs), func(i int) bool { return d.podAddrs[i].addr.Compare(p.Addr()) >= 0 })
	to := from
	for to < len(d.podAddrs) && p.Contains(d.podAddrs[to].addr) {
		to++
	}
	return d.podAddrs[from:to]
}

// sortedRanges are the ranges by first address, the larger first: a range
// follows those that contain it.
func sortedRanges(s *Snapshot) []*Range {
	out := make([]*Range, len(s.Ranges))
	for i := range s.Ranges {
		out[i] = &s.Ranges[i]
	}
	slices.SortFunc(out, func(a, b *Range) int {
		return cmp.Or(a.CIDR.Addr().Compare(b.CIDR.Addr()), cmp.Compare(a.CIDR.Bits(), b.CIDR.Bits()), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// space is the free space of one pool: what no AddressRange covers.
// Invariant: gaps are disjoint, not adjacent, and in order.
type space struct {
	gaps []netipx.IPRange
	// refuse says that a block may not be used although it is free.
	refuse func(netip.Prefix) bool
	// from, by prefix length, is where to begin: no gap before it has room.
	from map[int]int
}

// freeSpace is what pool has left beside ranges, of whatever pool they are.
func freeSpace(pool netip.Prefix, ranges []*Range, refuse func(netip.Prefix) bool) *space {
	var b netipx.IPSetBuilder
	b.AddPrefix(pool)
	for _, r := range ranges {
		if r.CIDR.Overlaps(pool) {
			b.RemovePrefix(r.CIDR)
		}
	}
	set, err := b.IPSet()
	if err != nil {
		return &space{refuse: refuse} // an invalid prefix: nothing is known to be free
	}
	return &space{gaps: set.Ranges(), refuse: refuse}
}

// take cuts out the lowest free aligned block of a prefix length.
func (s *space) take(bits int) (netip.Prefix, bool) {
	for i := s.from[bits]; i < len(s.gaps); i++ {
		if p, ok := s.firstBlock(s.gaps[i], bits); ok {
			s.cut(i, p)
			s.begin(bits, i)
			return p, true
		}
	}
	s.begin(bits, len(s.gaps))
	return netip.Prefix{}, false
}

// takeAny cuts out one of the free blocks, chosen by pick, which is given how
// many there are to choose from (at most a few hundred) and returns one's number.
func (s *space) takeAny(bits int, pick func(n int) int) (netip.Prefix, bool) {
	const enough = 256
	type place struct {
		gap   int
		block netip.Prefix
	}
	var places []place
	for i := 0; i < len(s.gaps) && len(places) < enough; i++ {
		rest := s.gaps[i]
		for len(places) < enough {
			p, ok := s.firstBlock(rest, bits)
			if !ok {
				break
			}
			places = append(places, place{i, p})
			next := netipx.PrefixLastIP(p).Next()
			if !next.IsValid() || next.Compare(rest.To()) > 0 {
				break
			}
			rest = netipx.IPRangeFrom(next, rest.To())
		}
	}
	if len(places) == 0 {
		return netip.Prefix{}, false
	}
	p := places[pick(len(places))]
	s.cut(p.gap, p.block)
	s.from = nil
	return p.block, true
}

func (s *space) begin(bits, i int) {
	if s.from == nil {
		s.from = map[int]int{}
	}
	s.from[bits] = i
}

// firstBlock is the lowest aligned block in gap that is not refused.
func (s *space) firstBlock(gap netipx.IPRange, bits int) (netip.Prefix, bool) {
	at := gap.From()
	for at.IsValid() && at.Compare(gap.To()) <= 0 {
		p := netip.PrefixFrom(at, bits).Masked()
		if p.Addr() != at { // at is not aligned: the next block
			at = netipx.PrefixLastIP(p).Next()
			continue
		}
		last := netipx.PrefixLastIP(p)
		if last.Compare(gap.To()) > 0 {
			break
		}
		if s.refuse == nil || !s.refuse(p) {
			return p, true
		}
		at = last.Next()
	}
	return netip.Prefix{}, false
}

// cut takes p out of the i-th gap, which contains it.
func (s *space) cut(i int, p netip.Prefix) {
	gap := s.gaps[i]
	var rest []netipx.IPRange
	if first := p.Addr(); first != gap.From() {
		rest = append(rest, netipx.IPRangeFrom(gap.From(), first.Prev()))
	}
	if last := netipx.PrefixLastIP(p); last != gap.To() {
		rest = append(rest, netipx.IPRangeFrom(last.Next(), gap.To()))
	}
	s.gaps = slices.Replace(s.gaps, i, i+1, rest...)
	if len(rest) == 1 {
		return
	}
	// The gaps behind it have new numbers; places that were passed over have not.
	for bits, from := range s.from {
		if from > i {
			s.from[bits] = max(from+len(rest)-1, 0)
		}
	}
}
