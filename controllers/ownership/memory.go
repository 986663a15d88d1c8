// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Memory is what one process has watched, on its own monotonic clock. Nothing
// in it is needed for safety to survive a crash: a new process watches anew.
// Not for concurrent use.
type Memory struct {
	// observations counts calls of Observe: some facts need two, since a
	// snapshot's lists are not one transaction.
	observations int

	// By peer name: since when exactly this resourceVersion of the Lease has
	// stood. Absence has no version: it may have ended and begun again between
	// two looks, so it is never watched.
	leases map[string]watch
	// By peer name: since when the same incarnation has been seen to hold the
	// Lease, however often it renewed it.
	holders map[string]watch
	// By node name: the kubelet's Lease.
	heartbeats map[string]watch
	// By range name: a claim.
	claims map[string]watch
	// By peer uid: since when its Node has been gone.
	nodesGone map[string]sighting
	// By peer uid and declaration: since when this removal has been known.
	removals map[string]sighting
	// By incarnation: since when its ranges may move, once the barrier is passed.
	barriers map[string]sighting
	// By peer uid and declaration: since when the declaration has been gone.
	undeclared map[string]sighting
	// By range, address and pod: since when no such pod carries it.
	unreserved map[reserved]sighting
}

// watch: since when exactly this version has been seen.
type watch struct {
	uid, version string
	since        time.Duration
}

// sighting: since when something has been so, without a break.
type sighting struct {
	since time.Duration
	// first is the number of the observation that saw it first.
	first int
}

type reserved struct {
	name string
	res  Reservation
}

// NewMemory remembers nothing.
func NewMemory() *Memory { return &Memory{} }

// Clone is a copy, for exploring what may come.
func (m *Memory) Clone() *Memory {
	out := *m
	out.leases, out.holders = maps.Clone(m.leases), maps.Clone(m.holders)
	out.heartbeats, out.claims = maps.Clone(m.heartbeats), maps.Clone(m.claims)
	out.nodesGone, out.removals, out.barriers = maps.Clone(m.nodesGone), maps.Clone(m.removals), maps.Clone(m.barriers)
	out.undeclared, out.unreserved = maps.Clone(m.undeclared), maps.Clone(m.unreserved)
	return &out
}

// Each lists what is remembered, in an order of its own: of what kind, by and
// about which names, since when, and whether the last observation was the first
// to see it. Two memories of which this says the same, but for how much time
// has passed, decide the same.
func (m *Memory) Each(visit func(kind string, names []string, since time.Duration, news bool)) {
	for _, set := range []struct {
		kind string
		of   map[string]watch
	}{{"leases", m.leases}, {"holders", m.holders}, {"heartbeats", m.heartbeats}, {"claims", m.claims}} {
		for _, key := range slices.Sorted(maps.Keys(set.of)) {
			w := set.of[key]
			visit(set.kind, []string{key, w.uid, w.version}, w.since, false)
		}
	}
	for _, set := range []struct {
		kind string
		of   map[string]sighting
	}{{"nodesGone", m.nodesGone}, {"removals", m.removals}, {"barriers", m.barriers}, {"undeclared", m.undeclared}} {
		for _, key := range slices.Sorted(maps.Keys(set.of)) {
			visit(set.kind, strings.Fields(key), set.of[key].since, set.of[key].first == m.observations)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(m.unreserved), reserved.compare) {
		seen := m.unreserved[key]
		visit("unreserved", []string{key.name, key.res.Address.String(), key.res.PodUID}, seen.since, seen.first == m.observations)
	}
}

func (r reserved) compare(o reserved) int {
	return cmp.Or(cmp.Compare(r.name, o.name), r.res.Address.Compare(o.res.Address), cmp.Compare(r.res.PodUID, o.res.PodUID))
}

// Observe takes note of what a snapshot shows. Caches' views may be observed
// too: a resourceVersion that one showed and a later consistent view still
// shows has stood in between.
func (m *Memory) Observe(s *Snapshot, now time.Duration) {
	m.observations++
	owners := map[string]bool{}
	for i := range s.Peers {
		owners[s.Peers[i].UID] = true
	}
	orphans := orphanRefs(s, owners)
	m.leases = rewatch(m.leases, now, func(see func(string, string, string)) {
		for i := range s.Leases {
			see(s.Leases[i].Name, s.Leases[i].UID, s.Leases[i].Version)
		}
	})
	m.holders = rewatch(m.holders, now, func(see func(string, string, string)) {
		for i := range s.Leases {
			see(s.Leases[i].Name, s.Leases[i].UID, s.Leases[i].holderUID())
		}
	})
	m.heartbeats = rewatch(m.heartbeats, now, func(see func(string, string, string)) {
		for _, n := range s.Nodes {
			see(n.Name, n.UID, n.Heartbeat)
		}
	})
	m.claims = rewatch(m.claims, now, func(see func(string, string, string)) {
		for i := range s.Ranges {
			if r := &s.Ranges[i]; r.Epoch == 0 {
				see(r.Name, r.UID, r.Version)
			}
		}
	})
	m.observePeers(s, orphans, now)
	m.observeReservations(s, now)
}

func orphanRefs(s *Snapshot, owners map[string]bool) map[string]Ref {
	orphans := map[string]Ref{}
	for i := range s.Ranges {
		if o := s.Ranges[i].Owner; o.UID != "" && !owners[o.UID] {
			orphans[o.UID] = o
		}
	}
	return orphans
}

func (m *Memory) observePeers(s *Snapshot, orphans map[string]Ref, now time.Duration) {
	nodes := make(map[string]string, len(s.Nodes))
	for _, n := range s.Nodes {
		nodes[n.Name] = n.UID
	}
	declared := make(map[string]bool, len(s.Removals))
	for i := range s.Removals {
		declared[s.Removals[i].UID] = true
	}
	gone, removals, barriers, undeclared := map[string]sighting{}, map[string]sighting{}, map[string]sighting{}, map[string]sighting{}
	for i := range s.Peers {
		p := &s.Peers[i]
		if uid, ok := nodes[p.Name]; !ok || p.NodeUID != "" && uid != p.NodeUID {
			gone[p.UID] = sight(m, m.nodesGone, p.UID, now)
		}
		if p.Phase == Transferring || p.Phase == Removed {
			barriers[p.UID] = sight(m, m.barriers, p.UID, now)
		}
		if p.Removal == nil {
			continue
		}
		key := removalKey(p)
		removals[key] = sight(m, m.removals, key, now)
		if p.Removal.Reason == Declared && !declared[p.Removal.RemovalUID] {
			undeclared[key] = sight(m, m.undeclared, key, now)
		}
	}
	for uid := range orphans {
		// Counted from the second observation on: a first one may have listed
		// the ranges after a Peer was made that it had not listed.
		seen, again := m.barriers[uid]
		if !again || seen.first == m.observations-1 {
			seen.since = now
		}
		if !again {
			seen.first = m.observations
		}
		barriers[uid] = seen
	}
	m.nodesGone, m.removals, m.barriers, m.undeclared = gone, removals, barriers, undeclared
}

func (m *Memory) observeReservations(s *Snapshot, now time.Duration) {
	carried := carriers(s)
	unreserved := map[reserved]sighting{}
	for i := range s.Ranges {
		for _, res := range s.Ranges[i].Reserved {
			if key := (reserved{s.Ranges[i].Name, res}); !carried[res] {
				unreserved[key] = sight(m, m.unreserved, key, now)
			}
		}
	}
	m.unreserved = unreserved
}

// carriers are the addresses that pods carry, if anything is reserved at all.
func carriers(s *Snapshot) map[Reservation]bool {
	any := false
	for i := range s.Ranges {
		any = any || len(s.Ranges[i].Reserved) > 0
	}
	if !any {
		return nil
	}
	out := make(map[Reservation]bool, len(s.Pods))
	for i := range s.Pods {
		for _, a := range s.Pods[i].Addresses {
			out[Reservation{a, s.Pods[i].UID}] = true
		}
	}
	return out
}

func removalKey(p *Peer) string { return p.UID + " " + p.Removal.RemovalUID }

// sight keeps the sighting of key, or begins one.
func sight[K comparable](m *Memory, was map[K]sighting, key K, now time.Duration) sighting {
	if old, ok := was[key]; ok {
		return old
	}
	return sighting{now, m.observations}
}

// rewatch keeps what still stands as it was, and begins anew with the rest.
func rewatch(was map[string]watch, now time.Duration, list func(see func(name, uid, version string))) map[string]watch {
	out := make(map[string]watch, len(was))
	list(func(name, uid, version string) {
		w, ok := was[name]
		if !ok || w.uid != uid || w.version != version {
			w = watch{uid, version, now}
		}
		out[name] = w
	})
	return out
}
