// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Ledger is the peer's allocation. It is safe for concurrent use.
type Ledger struct {
	gate atomic.Pointer[func() error]

	mu       sync.Mutex
	ranges   []Range // as they were set
	spans    spans
	holdings holdings
	// shared counts, for an address held more than once, the holders beyond the
	// first. It happens only if the kernel says so; the address is free when
	// the last of them is gone.
	shared map[netip.Addr]int
}

// NewLedger returns a ledger without ranges, from which nothing is allocated.
func NewLedger() *Ledger {
	return &Ledger{holdings: newHoldings(), shared: map[netip.Addr]int{}}
}

// SetGate sets what is asked before each allocation: the lease and the start-up
// state. Its error is the reason why nothing may be allocated now.
func (l *Ledger) SetGate(gate func() error) { l.gate.Store(&gate) }

// Permit asks the gate again, as a caller does just before an answer that
// carries an address goes out. Its errors satisfy [IsSuspended].
func (l *Ledger) Permit() error {
	gate := l.gate.Load()
	if gate == nil || *gate == nil {
		return nil
	}
	if err := (*gate)(); err != nil {
		return &allocationError{why: suspended, text: "this peer may not allocate now", cause: err}
	}
	return nil
}

// SetRanges sets all ranges that may be allocated from. What is held is
// counted in those that are new, and stays held when its range is gone.
// Of two ranges that overlap only the one with the lower first address, or
// else the larger one, is used: idle space does no harm, an address in two
// ranges would.
func (l *Ledger) SetRanges(ranges []Range) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.EqualFunc(l.ranges, ranges, sameRange) {
		return
	}
	next := make(map[string]uint32, len(l.ranges))
	for s := range l.spans.all() {
		next[s.UID+"/"+s.CIDR.Addr().String()] = s.next
	}
	l.ranges = slices.Clone(ranges)
	for i := range l.ranges {
		l.ranges[i].Withheld = slices.Clone(l.ranges[i].Withheld)
		if keep := l.ranges[i].Keep; keep != nil {
			copied := *keep
			l.ranges[i].Keep = &copied
		}
	}
	l.spans = newSpans(l.ranges)
	clear(l.shared)
	l.seed()
	for s := range l.spans.all() {
		if n, known := next[s.UID+"/"+s.CIDR.Addr().String()]; known {
			s.resume(n)
		}
	}
}

// seed counts all that is held in the spans, which are new.
func (l *Ledger) seed() {
	seen := map[netip.Addr]struct{}{}
	for h := range l.holdings.all() {
		for p := range h.places() {
			p.span, p.n = l.spans.find(p.addr)
			if _, again := seen[p.addr]; again {
				l.shared[p.addr]++
				continue
			}
			seen[p.addr] = struct{}{}
			p.count()
		}
	}
}

// count marks the address as taken in its range. The search for the next one
// begins after the highest in use: those below it were used last.
func (p *place) count() {
	s := p.span
	if s == nil {
		return
	}
	s.take(p.n)
	s.held++
	if s.inside(p.n) && p.n >= s.next {
		s.next = p.n + 1
	}
}

// Hold records what an attachment has in the kernel, whether or not its range
// is owned; addresses that it was known to have stay.
func (l *Ledger) Hold(k Key, addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, _ := l.holdings.getOrAdd(k)
	for _, a := range addrs {
		a = a.Unmap()
		if !a.IsValid() || h.has(a) {
			continue
		}
		p := place{addr: a}
		p.span, p.n = l.spans.find(a)
		if l.heldBy(p) {
			l.shared[a]++
		} else {
			p.count()
		}
		h.add(p)
	}
	if h.empty() {
		l.holdings.remove(k)
	}
}

// heldBy reports whether any attachment has the address. In a range that is
// read off its bits; outside of the ranges, where nothing is counted, all are
// looked at.
func (l *Ledger) heldBy(p place) bool {
	if s := p.span; s != nil {
		if !s.taken.has(p.n) {
			return false
		}
		if _, withheld := s.withheld[p.n]; !withheld {
			return true
		}
	}
	for h := range l.holdings.all() {
		if h.has(p.addr) {
			return true
		}
	}
	return false
}

// Release ends what an attachment holds and reports whether it held anything.
// There is no release by address, so that a late event about a former holder
// cannot free the next one's.
func (l *Ledger) Release(k Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holdings.remove(k)
	if h == nil {
		return false
	}
	for i := range h.pair {
		l.free(&h.pair[i])
	}
	for i := range h.more {
		l.free(&h.more[i])
	}
	return true
}

func (l *Ledger) free(p *place) {
	if len(l.shared) > 0 {
		if others := l.shared[p.addr]; others > 1 {
			l.shared[p.addr] = others - 1
			return
		} else if others == 1 {
			delete(l.shared, p.addr)
			return
		}
	}
	if s := p.span; s != nil {
		s.held--
		s.give(p.n)
	}
}

// Lookup is what an attachment holds; nil if nothing.
func (l *Ledger) Lookup(k Key) []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holdings.get(k)
	if h == nil {
		return nil
	}
	return h.appendTo(nil)
}

// Keys are the attachments that hold addresses, sorted.
func (l *Ledger) Keys() []Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []Key
	for h := range l.holdings.all() {
		keys = append(keys, h.key)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Sandbox, b.Sandbox), cmp.Compare(a.IfName, b.IfName))
	})
	return keys
}

// Used is the number of addresses held in the range of that name.
func (l *Ledger) Used(name string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.spans.all() {
		if s.Name == name {
			return s.held
		}
	}
	return 0
}

// Idle reports whether no attachment holds an address in p, owned or not.
// Links that are dying are not attachments: the kernel is asked about those.
func (l *Ledger) Idle(p netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h := range l.holdings.all() {
		for held := range h.places() {
			if p.Contains(held.addr) {
				return false
			}
		}
	}
	return true
}

// Pools is how much of each pool's ranges is in use.
func (l *Ledger) Pools() map[string]PoolUse {
	l.mu.Lock()
	defer l.mu.Unlock()
	pools := map[string]PoolUse{}
	for s := range l.spans.all() {
		use := pools[s.Pool]
		use.Used += s.held
		use.Capacity += s.usable()
		pools[s.Pool] = use
	}
	return pools
}
