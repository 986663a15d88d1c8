// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Decide returns what is to be done about s, with what m has watched, at now.
// It changes neither. What it returns on a view that is not consistent says
// only that a consistent one is wanted.
func Decide(s *Snapshot, m *Memory, now time.Duration, cfg Config) Decision {
	d := newDecider(s, m, now, cfg)
	d.termReached()
	d.acceptPools()
	d.declarations()
	d.vanished()
	d.underlays()
	d.removals()
	d.orphans()
	d.tidyRanges()
	d.giveBack()
	d.grant()
	d.strayLeases()
	d.sealLeases()
	d.spentLeases()
	slices.Sort(d.out.ListPods)
	d.out.ListPods = slices.Compact(d.out.ListPods)
	return d.out
}

// decider is one decision in the making: the snapshot, indexed.
type decider struct {
	s   *Snapshot
	m   *Memory
	now time.Duration
	cfg Config
	out Decision

	pools     map[string]*Pool
	peers     map[string]*Peer // by name
	byUID     map[string]*Peer
	leases    map[string]*Lease
	nodes     map[string]*Node
	declared  map[string]*Declaration // by peer name
	ranges    []*Range                // by first address, larger first
	owned     map[string][]*Range     // by owner uid
	podsOn    map[string][]*Pod
	podAddrs  []podAddr        // sorted
	leaves    map[string]*Peer // by the uid of the heir: a peer that is Transferring
	unsettled string           // why nothing may be granted or moved in this term

	written map[string]bool     // subjects that have their write already
	seals   map[string][]string // by peer name: what its Lease is to be sealed for
	barrier map[string][]string // by incarnation: peers that have not cut it off
}

func newDecider(s *Snapshot, m *Memory, now time.Duration, cfg Config) *decider {
	if cfg.LeaseDuration <= 0 {
		cfg.LeaseDuration = time.Minute
	}
	if cfg.ClaimTimeout <= 0 {
		cfg.ClaimTimeout = time.Minute
	}
	d := &decider{
		s: s, m: m, now: now, cfg: cfg,
		pools:    make(map[string]*Pool, len(s.Pools)),
		peers:    make(map[string]*Peer, len(s.Peers)),
		byUID:    make(map[string]*Peer, len(s.Peers)),
		leases:   make(map[string]*Lease, len(s.Leases)),
		nodes:    make(map[string]*Node, len(s.Nodes)),
		declared: make(map[string]*Declaration, len(s.Removals)),
		owned:    make(map[string][]*Range, len(s.Peers)),
		podsOn:   make(map[string][]*Pod),
		written:  map[string]bool{},
		seals:    map[string][]string{},
		leaves:   map[string]*Peer{},
	}
	for i := range s.Pools {
		d.pools[s.Pools[i].Name] = &s.Pools[i]
	}
	for i := range s.Peers {
		d.peers[s.Peers[i].Name] = &s.Peers[i]
		d.byUID[s.Peers[i].UID] = &s.Peers[i]
		if p := &s.Peers[i]; p.Phase == Transferring && p.Result != nil && p.Result.Heir.UID != "" {
			d.leaves[p.Result.Heir.UID] = p
		}
	}
	for i := range s.Leases {
		d.leases[s.Leases[i].Name] = &s.Leases[i]
	}
	for i := range s.Nodes {
		d.nodes[s.Nodes[i].Name] = &s.Nodes[i]
	}
	for i := range s.Removals {
		d.declared[s.Removals[i].Name] = &s.Removals[i]
	}
	d.ranges = sortedRanges(s)
	for _, r := range d.ranges {
		if r.Owner.UID != "" {
			d.owned[r.Owner.UID] = append(d.owned[r.Owner.UID], r)
		}
	}
	d.indexPods()
	d.barrier = d.barriers()
	return d
}

// indexPods sorts the pods by node and their addresses by value.
func (d *decider) indexPods() {
	d.podAddrs = make([]podAddr, 0, len(d.s.Pods))
	for i := range d.s.Pods {
		p := &d.s.Pods[i]
		d.podsOn[p.Node] = append(d.podsOn[p.Node], p)
		for _, a := range p.Addresses {
			d.podAddrs = append(d.podAddrs, podAddr{a, p})
		}
	}
	slices.SortFunc(d.podAddrs, func(a, b podAddr) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.pod.UID, b.pod.UID))
	})
}

// write adds w, unless its subject has a write already: what rests on a write
// is decided once that is there to be read. It returns the index for events,
// and whether w was added.
func (d *decider) write(w Write) (int, bool) {
	if d.written[w.Subject()] {
		return -1, false
	}
	d.written[w.Subject()] = true
	d.out.Writes = append(d.out.Writes, w)
	return len(d.out.Writes) - 1, true
}

func (d *decider) event(after int, o Object, kind, reason, format string, args ...any) {
	d.out.Events = append(d.out.Events, Event{
		After: after, Kind: kind, Name: o.Name, UID: o.UID, Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

// recheck asks to decide again at a time, though nothing changes.
func (d *decider) recheck(at time.Duration) {
	if at <= d.now {
		at = d.now + 1
	}
	if d.out.Recheck == 0 || at < d.out.Recheck {
		d.out.Recheck = at
	}
}

// Kinds of objects, as waits and events name them.
const (
	kindPeer    = "Peer"
	kindRemoval = "PeerRemoval"
	kindPool    = "AddressPool"
)

// WaitExhausted is why a pool waits whose peers lack what it has not.
const WaitExhausted = "Exhausted"

// wait records that something waits. until is 0 if only an event ends it.
func (d *decider) wait(kind, name, reason string, until time.Duration, format string, args ...any) {
	d.out.Waits = append(d.out.Waits, Wait{
		Kind: kind, Name: name, Reason: reason, Message: fmt.Sprintf(format, args...), Until: until,
	})
	if until > 0 {
		d.recheck(until)
	}
}
