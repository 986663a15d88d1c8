// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package history is what was seen of addresses from outside, with times: who
// was given one, who let it go, who answered on it, and when a range left its
// owner. It judges that with one register for each address, by the rule
// OneHolder: an address is held by at most one pod of the reachable network.
// It knows nothing of Selvage, runs nothing and reads no clock.
package history

import (
	"net/netip"
	"sync"
	"time"
)

// Span is the time in which something happened: not before Call, and not after
// Return. Both are counted from the beginning of the run, by one clock.
type Span struct{ Call, Return time.Duration }

// Never is the end of what has not ended.
const Never = time.Duration(1<<63 - 1)

// Holding is a pod's life with an address.
type Holding struct {
	Pod     string
	Host    string
	Address netip.Addr
	// Added is the span of ADD. Unless Sure, ADD was not answered with that
	// address, and yet the pod's interface was seen to have it: it may have
	// happened.
	Added Span
	Sure  bool
	// Released is the span of DEL, from its first attempt, or of the removal of
	// the pod's namespace. The zero Span: the pod still has it.
	Released Span
}

// Heard is an answer: Pod spoke from Address, and a pod of the reachable
// network heard it.
type Heard struct {
	Pod     string
	Address netip.Addr
	// By is who heard it, and ByHost the machine of that pod.
	By, ByHost string
	Span       Span
}

// Loss is a range's going away from the peer of a host: what that host's pods
// hold there is not to be heard any more.
type Loss struct {
	Host string
	// Gone is the space that went; Kept is the part of it that stayed.
	Gone, Kept netip.Prefix
	Span       Span
}

func (l Loss) covers(a netip.Addr) bool {
	return l.Gone.Contains(a) && !(l.Kept.IsValid() && l.Kept.Contains(a))
}

// History is everything seen so far. Several goroutines write it.
type History struct {
	mu       sync.Mutex
	holdings []*Holding
	heard    []Heard
}

// Add records that a pod has, or may have, an address.
func (h *History) Add(pod, host string, address netip.Addr, added Span, sure bool) *Holding {
	holding := &Holding{Pod: pod, Host: host, Address: address, Added: added, Sure: sure}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holdings = append(h.holdings, holding)
	return holding
}

// Releasing records that a holding may end from now on.
func (h *History) Releasing(holding *Holding, since time.Duration) {
	h.Release(holding, Span{Call: since, Return: Never})
}

// Release records that a holding has ended.
func (h *History) Release(holding *Holding, released Span) {
	h.mu.Lock()
	defer h.mu.Unlock()
	holding.Released = released
}

// Hear records an answer.
func (h *History) Hear(answer Heard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, answer)
}

// Snapshot copies what there is.
func (h *History) Snapshot() ([]Holding, []Heard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	holdings := make([]Holding, len(h.holdings))
	for i, holding := range h.holdings {
		holdings[i] = *holding
	}
	return holdings, append([]Heard(nil), h.heard...)
}
