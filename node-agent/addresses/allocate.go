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
	h, held := l.holdings.getOrAdd(k)
	var err error
	if held {
		err = h.satisfies(req.Want)
	} else if err = l.choose(req, h); err != nil {
		l.holdings.remove(k)
	}
	if err == nil {
		dst = h.appendTo(dst)
	}
	l.mu.Unlock()
	return dst, err
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

// choose puts an address of each family into h, or none.
func (l *Ledger) choose(req Request, h *holding) error {
	families := req.Families
	if families == 0 {
		families = l.spans.families()
	}
	if len(req.Want) > 0 {
		asked, err := l.spans.available(req.Want)
		if err != nil {
			return err
		}
		families |= asked
	}
	if families == 0 {
		return &allocationError{why: exhausted, text: "this peer owns no range of addresses yet"}
	}
	for i := range h.pair {
		if families&(V4<<i) == 0 {
			continue
		}
		if !l.spans.take(&h.pair[i], i, req.Want) {
			l.free(&h.pair[0])
			h.pair[0] = place{}
			return l.spans.exhausted(i)
		}
	}
	return nil
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

// available refuses addresses that cannot be given to one who asks for them,
// and else says of which families they are.
func (all *spans) available(want []netip.Addr) (asked Families, err error) {
	for _, a := range want {
		a = a.Unmap()
		if asked&FamilyOf(a) != 0 {
			return 0, refusal("%v were asked for, but an interface gets one %s address", want, FamilyOf(a))
		}
		asked |= FamilyOf(a)
		s, n := all.find(a)
		if s == nil {
			return 0, refusal("%s was asked for, but is in no range that this peer owns", a)
		}
		if _, withheld := s.withheld[n]; withheld {
			return 0, refusal("%s was asked for, but is reserved in range %s", a, s.Name)
		}
		if s.taken.has(n) {
			return 0, refusal("%s was asked for, but another pod has it", a)
		}
		if !s.inside(n) {
			return 0, refusal("%s was asked for, but that part of range %s is being given back", a, s.Name)
		}
	}
	return asked, nil
}

// take puts into p the address of a family that was asked for, or the next
// one, and reports whether there was one.
func (all *spans) take(p *place, family int, want []netip.Addr) bool {
	for _, a := range want {
		if a = a.Unmap(); FamilyOf(a) == V4<<family {
			p.addr = a
			p.span, p.n = all.find(a)
			p.span.take(p.n)
			p.span.held++
			return true
		}
	}
	s := roomiest(all[family])
	if s == nil {
		return false
	}
	n, ok := s.pick()
	if !ok {
		return false
	}
	s.held++
	p.addr, p.span, p.n = s.addr(n), s, n
	return true
}

func (all *spans) exhausted(family int) error {
	text := fmt.Sprintf("no %s address is free in the %d range(s) that this peer owns", V4<<family, len(all[family]))
	if len(all[family]) == 0 {
		text = fmt.Sprintf("this peer owns no range of %s addresses yet", V4<<family)
	}
	return &allocationError{why: exhausted, text: text}
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
