// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
)

// Allocate gives an attachment one address of each family that it needs. An
// attachment that holds addresses already gets the same again. On an error
// nothing is held that was not held before.
//
// It is small enough to be inlined, so that the answer of a caller who does
// not keep it lies on the caller's stack.
func (l *Ledger) Allocate(k Key, req Request) ([]netip.Addr, error) {
	var room [2]netip.Addr
	return l.allocate(room[:0], k, req)
}

func (l *Ledger) allocate(dst []netip.Addr, k Key, req Request) ([]netip.Addr, error) {
	if err := l.Permit(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	h, held := l.holdings[k]
	var err error
	if held {
		err = h.satisfies(req.Want)
	} else if h.pair, err = l.choose(req); err == nil {
		l.holdings[k] = h
	}
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return h.appendTo(dst), nil
}

// satisfies refuses addresses asked for by name that are not the ones held.
func (h *holding) satisfies(want []netip.Addr) error {
	for _, a := range want {
		if !h.has(a.Unmap()) {
			return refusal("%s was asked for, but the interface has %v already: delete it first", a, h.appendTo(nil))
		}
	}
	return nil
}

// choose takes an address of each family, or none.
func (l *Ledger) choose(req Request) (pair [2]netip.Addr, err error) {
	families := req.Families
	if families == 0 {
		families = l.spans.families()
	}
	var asked Families
	for _, a := range req.Want {
		if asked&FamilyOf(a) != 0 {
			return pair, refusal("%v were asked for, but an interface gets one %s address", req.Want, FamilyOf(a))
		}
		asked |= FamilyOf(a)
		if err := l.spans.available(a.Unmap()); err != nil {
			return pair, err
		}
	}
	families |= asked
	if families == 0 {
		return pair, &allocationError{why: exhausted, text: "this peer owns no range of addresses yet"}
	}
	for i, family := range [...]Families{V4, V6} {
		if families&family == 0 {
			continue
		}
		if pair[i], err = l.spans.take(family, req.Want); err != nil {
			if pair[0].IsValid() {
				l.free(pair[0])
			}
			return [2]netip.Addr{}, err
		}
	}
	return pair, nil
}

// spans are the ranges of each family, by first address.
type spans [2][]*span

func newSpans(ranges []Range) (all spans) {
	for _, r := range ranges {
		if !r.CIDR.IsValid() || r.CIDR.Addr().Is4In6() {
			continue
		}
		r.CIDR = r.CIDR.Masked()
		i := FamilyOf(r.CIDR.Addr()) >> 1
		all[i] = append(all[i], newSpan(r))
	}
	for i, family := range all {
		slices.SortFunc(family, func(a, b *span) int {
			return cmp.Or(a.CIDR.Addr().Compare(b.CIDR.Addr()), cmp.Compare(a.CIDR.Bits(), b.CIDR.Bits()))
		})
		disjoint := family[:0]
		for _, s := range family {
			if n := len(disjoint); n == 0 || !disjoint[n-1].CIDR.Overlaps(s.CIDR) {
				disjoint = append(disjoint, s)
			}
		}
		all[i] = disjoint
	}
	return all
}

func (all *spans) all() iter.Seq[*span] {
	return func(yield func(*span) bool) {
		for _, family := range all {
			for _, s := range family {
				if !yield(s) {
					return
				}
			}
		}
	}
}

func (all *spans) families() (f Families) {
	if len(all[0]) > 0 {
		f |= V4
	}
	if len(all[1]) > 0 {
		f |= V6
	}
	return f
}

// find is the range that an address lies in and its number there.
func (all *spans) find(a netip.Addr) (*span, uint32) {
	family := all[FamilyOf(a)>>1]
	from, to := 0, len(family)
	for from < to {
		if mid := (from + to) / 2; family[mid].CIDR.Addr().Compare(a) <= 0 {
			from = mid + 1
		} else {
			to = mid
		}
	}
	if from == 0 {
		return nil, 0
	}
	s := family[from-1]
	n, ok := s.offset(a)
	if !ok {
		return nil, 0
	}
	return s, n
}

// available refuses an address that cannot be given to one who asks for it.
func (all *spans) available(a netip.Addr) error {
	s, n := all.find(a)
	if s == nil {
		return refusal("%s was asked for, but is in no range that this peer owns", a)
	}
	if _, withheld := s.withheld[n]; withheld {
		return refusal("%s was asked for, but is reserved in range %s", a, s.Name)
	}
	if s.taken.has(n) {
		return refusal("%s was asked for, but another pod has it", a)
	}
	if !s.inside(n) {
		return refusal("%s was asked for, but that part of range %s is being given back", a, s.Name)
	}
	return nil
}

// take takes the address of a family that was asked for, or the next one.
func (all *spans) take(family Families, want []netip.Addr) (netip.Addr, error) {
	for _, a := range want {
		if a = a.Unmap(); FamilyOf(a) == family {
			s, n := all.find(a)
			s.take(n)
			s.held++
			return a, nil
		}
	}
	spans := all[family>>1]
	if s := roomiest(spans); s != nil {
		if n, ok := s.pick(); ok {
			s.held++
			return s.addr(n), nil
		}
	}
	if len(spans) == 0 {
		return netip.Addr{}, &allocationError{why: exhausted,
			text: fmt.Sprintf("this peer owns no range of %s addresses yet", family)}
	}
	return netip.Addr{}, &allocationError{why: exhausted,
		text: fmt.Sprintf("no %s address is free in the %d range(s) that this peer owns", family, len(spans))}
}

// roomiest is the first range of which an eighth is free, or else the first
// with anything free. Going by the order leaves the later ranges idle, so that
// they can be given back; the eighth keeps freed addresses from being used
// again at once in a range that is nearly full.
func roomiest(spans []*span) *span {
	var last *span
	for _, s := range spans {
		if s.free == 0 {
			continue
		}
		if s.free*8 >= s.usable() {
			return s
		}
		if last == nil {
			last = s
		}
	}
	return last
}
