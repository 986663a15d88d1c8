// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"hash/maphash"
	"iter"
	"net/netip"
)

// place is an address and where it is counted; span is nil outside of the
// ranges that are owned.
type place struct {
	addr netip.Addr
	span *span
	n    uint32
}

// holding is what one attachment has. Two addresses, one of each family, lie
// in place, so that allocating needs no memory; more come only from a kernel
// that somebody else has written to.
type holding struct {
	key  Key
	next *holding
	pair [2]place
	more []place
}

// places are all that the attachment has, with room to update them.
func (h *holding) places() iter.Seq[*place] {
	return func(yield func(*place) bool) {
		for i := range h.pair {
			if h.pair[i].addr.IsValid() && !yield(&h.pair[i]) {
				return
			}
		}
		for i := range h.more {
			if !yield(&h.more[i]) {
				return
			}
		}
	}
}

// empty: it has no address. One of IPv6 alone has only the second of the pair.
func (h *holding) empty() bool {
	return !h.pair[0].addr.IsValid() && !h.pair[1].addr.IsValid() && len(h.more) == 0
}

func (h *holding) has(a netip.Addr) bool {
	for p := range h.places() {
		if p.addr == a {
			return true
		}
	}
	return false
}

func (h *holding) add(p place) {
	for i := range h.pair {
		if !h.pair[i].addr.IsValid() {
			h.pair[i] = p
			return
		}
	}
	h.more = append(h.more, p)
}

func (h *holding) appendTo(dst []netip.Addr) []netip.Addr {
	for i := range h.pair {
		if h.pair[i].addr.IsValid() {
			dst = append(dst, h.pair[i].addr)
		}
	}
	for i := range h.more {
		dst = append(dst, h.more[i].addr)
	}
	return dst
}

// holdings are found by the hash of their sandbox, which is taken once for
// each operation; a map by [Key] would take the hash of three strings twice.
// Those with one hash, as the interfaces of one sandbox have, are in a list.
type holdings struct {
	seed    maphash.Seed
	buckets map[uint64]*holding
	// spare are holdings that ended, by next, to be used again.
	spare *holding
}

func newHoldings() holdings {
	return holdings{seed: maphash.MakeSeed(), buckets: map[uint64]*holding{}}
}

// get is the holding of k; nil if there is none.
func (all *holdings) get(k Key) *holding {
	for h := all.buckets[maphash.String(all.seed, k.Sandbox)]; h != nil; h = h.next {
		if h.key == k {
			return h
		}
	}
	return nil
}

// getOrAdd is the holding of k, which is blank and new unless it was held.
func (all *holdings) getOrAdd(k Key) (h *holding, held bool) {
	bucket := maphash.String(all.seed, k.Sandbox)
	first := all.buckets[bucket]
	for h := first; h != nil; h = h.next {
		if h.key == k {
			return h, true
		}
	}
	if h = all.spare; h != nil {
		all.spare = h.next
	} else {
		h = new(holding)
	}
	h.key, h.next = k, first
	h.pair[0].addr, h.pair[1].addr, h.more = netip.Addr{}, netip.Addr{}, nil
	h.pair[0].span, h.pair[1].span = nil, nil
	all.buckets[bucket] = h
	return h, false
}

// remove takes the holding of k out. What it holds can be read until the next
// one is added.
func (all *holdings) remove(k Key) *holding {
	bucket := maphash.String(all.seed, k.Sandbox)
	first := all.buckets[bucket]
	for at := &first; *at != nil; at = &(*at).next {
		h := *at
		if h.key != k {
			continue
		}
		*at = h.next
		if first == nil {
			delete(all.buckets, bucket)
		} else {
			all.buckets[bucket] = first
		}
		h.next = all.spare
		all.spare = h
		return h
	}
	return nil
}

func (all *holdings) all() iter.Seq[*holding] {
	return func(yield func(*holding) bool) {
		for _, h := range all.buckets {
			for ; h != nil; h = h.next {
				if !yield(h) {
					return
				}
			}
		}
	}
}
