// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// holding is what one attachment has. Two addresses, one of each family, lie
// in place, so that allocating needs no memory; more come only from a kernel
// that somebody else has written to.
type holding struct {
	pair [2]netip.Addr
	more []netip.Addr
}

func (h *holding) has(a netip.Addr) bool {
	return h.pair[0] == a || h.pair[1] == a || slices.Contains(h.more, a)
}

func (h *holding) add(a netip.Addr) {
	for i := range h.pair {
		if !h.pair[i].IsValid() {
			h.pair[i] = a
			return
		}
	}
	h.more = append(h.more, a)
}

func (h *holding) appendTo(dst []netip.Addr) []netip.Addr {
	for _, a := range h.pair {
		if a.IsValid() {
			dst = append(dst, a)
		}
	}
	return append(dst, h.more...)
}

// Ledger is the peer's allocation. It is safe for concurrent use.
type Ledger struct {
	gate atomic.Pointer[func() error]

	mu       sync.Mutex
	ranges   []Range // as they were set
	spans    spans
	holdings map[Key]holding
	// shared counts, for an address held more than once, the holders beyond the
	// first. It happens only if the kernel says so; the address is free when
	// the last of them is gone.
	shared map[netip.Addr]int
}

// NewLedger returns a ledger without ranges, from which nothing is allocated.
func NewLedger() *Ledger {
	return &Ledger{holdings: map[Key]holding{}, shared: map[netip.Addr]int{}}
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

// seed counts all that is held in the spans, which are new. The search begins
// after the highest address in use: those below it were used last.
func (l *Ledger) seed() {
	seen := make(map[netip.Addr]struct{}, len(l.holdings))
	for _, h := range l.holdings {
		for _, a := range h.appendTo(nil) {
			if _, again := seen[a]; again {
				l.shared[a]++
				continue
			}
			seen[a] = struct{}{}
			if s, n := l.spans.find(a); s != nil {
				s.take(n)
				s.held++
				if s.inside(n) && n >= s.next {
					s.next = n + 1
				}
			}
		}
	}
}

// Hold records what an attachment has in the kernel, whether or not its range
// is owned; addresses that it was known to have stay.
func (l *Ledger) Hold(k Key, addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holdings[k]
	for _, a := range addrs {
		a = a.Unmap()
		if !a.IsValid() || h.has(a) {
			continue
		}
		if l.heldBy(a) {
			l.shared[a]++
		} else if s, n := l.spans.find(a); s != nil {
			s.take(n)
			s.held++
			if s.inside(n) && n >= s.next {
				s.next = n + 1
			}
		}
		h.add(a)
	}
	if h.pair[0].IsValid() {
		l.holdings[k] = h
	}
}

// heldBy reports whether any attachment has a. In a range that is read off its
// bits; outside of the ranges, where nothing is counted, all are looked at.
func (l *Ledger) heldBy(a netip.Addr) bool {
	if s, n := l.spans.find(a); s != nil {
		if !s.taken.has(n) {
			return false
		}
		if _, withheld := s.withheld[n]; !withheld {
			return true
		}
	}
	for _, h := range l.holdings {
		if h.has(a) {
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
	h, held := l.holdings[k]
	if held {
		delete(l.holdings, k)
		for _, a := range h.pair {
			if a.IsValid() {
				l.free(a)
			}
		}
		for _, a := range h.more {
			l.free(a)
		}
	}
	l.mu.Unlock()
	return held
}

func (l *Ledger) free(a netip.Addr) {
	if len(l.shared) > 0 {
		if others := l.shared[a]; others > 1 {
			l.shared[a] = others - 1
			return
		} else if others == 1 {
			delete(l.shared, a)
			return
		}
	}
	if s, n := l.spans.find(a); s != nil {
		s.held--
		s.give(n)
	}
}

// Lookup is what an attachment holds; nil if nothing.
func (l *Ledger) Lookup(k Key) []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, held := l.holdings[k]
	if !held {
		return nil
	}
	return h.appendTo(nil)
}

// Keys are the attachments that hold addresses, in no order.
func (l *Ledger) Keys() []Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := make([]Key, 0, len(l.holdings))
	for k := range l.holdings {
		keys = append(keys, k)
	}
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
	for _, h := range l.holdings {
		if p.Contains(h.pair[0]) || p.Contains(h.pair[1]) || slices.ContainsFunc(h.more, p.Contains) {
			return false
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
