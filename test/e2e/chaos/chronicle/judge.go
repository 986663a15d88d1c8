// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package chronicle

import (
	"maps"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/audit"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// moment is a revision and when it was seen.
type moment struct {
	revision int64
	seen     time.Duration
}

// tenure is one owner's time with a range. Until is zero while it lasts.
type tenure struct {
	host, uid   string
	cidr        netip.Prefix
	rangeUID    string
	from, until moment
	// kept is what the same owner went on with.
	kept netip.Prefix
}

// turn is a host's entering or leaving the reachable network.
type turn struct {
	moment
	reachable bool
}

// Tallies count what has happened.
type Tallies struct {
	Revisions, Judged int
	// Declared are PeerRemovals; Removed are Peers that came to the end of
	// theirs, by reason and evidence; Cancelled are those whose removal began
	// to fence them and was taken back.
	Declared, Moves int
	Removed         map[string]int
	Cancelled       int
}

// Total is the number of finished removals.
func (t Tallies) Total() (n int) {
	for _, count := range t.Removed {
		n += count
	}
	return n
}

// Tallies are those up to now.
func (c *Chronicle) Tallies() Tallies {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies
	t.Removed = maps.Clone(t.Removed)
	return t
}

// judge holds every invariant against the state after one revision, and against
// the step that led to it.
func (c *Chronicle) judge(revision int64, now time.Duration) {
	c.tallies.Revisions++
	s := c.state
	if !s.touched {
		return
	}
	s.touched = false
	c.tallies.Judged++
	for _, f := range audit.Audit(s.inventory()) {
		if !f.Passing {
			c.find(revision, now, f.String())
		}
	}
	after := s.snapshot()
	if s.before != nil {
		for _, v := range ownership.CheckStep(s.before, after) {
			c.find(revision, now, v.String())
		}
	}
	s.before = after
	at := moment{revision, now}
	c.followRanges(at)
	c.followPeers(at)
}

// find keeps a finding once, not again at every revision that it lasts.
func (c *Chronicle) find(revision int64, now time.Duration, message string) {
	for _, f := range c.findings {
		if f.Message == message {
			return
		}
	}
	c.findings = append(c.findings, Finding{revision, now, message})
}

// followRanges notes who owned what, and when.
func (c *Chronicle) followRanges(at moment) {
	s := c.state
	for name, was := range s.past {
		is := s.ranges[name]
		if is != nil && is.UID == was.UID && equality.Semantic.DeepEqual(is.Spec.Owner, was.Spec.Owner) && is.Spec.CIDR == was.Spec.CIDR {
			continue
		}
		for i := range s.tenures {
			t := &s.tenures[i]
			if t.rangeUID != string(was.UID) || t.until != (moment{}) {
				continue
			}
			t.until = at
			if is != nil && is.UID == was.UID && is.Spec.Owner != nil && string(is.Spec.Owner.UID) == t.uid {
				t.kept = inventory.Prefix(is.Spec.CIDR)
			}
		}
		c.tallies.Moves++
	}
	for name, is := range s.ranges {
		was := s.past[name]
		if is.Spec.Owner == nil {
			continue
		}
		if was != nil && was.UID == is.UID && equality.Semantic.DeepEqual(is.Spec.Owner, was.Spec.Owner) && is.Spec.CIDR == was.Spec.CIDR {
			continue
		}
		s.tenures = append(s.tenures, tenure{host: is.Spec.Owner.Name, uid: string(is.Spec.Owner.UID),
			cidr: inventory.Prefix(is.Spec.CIDR), rangeUID: string(is.UID), from: at})
	}
	s.past = maps.Clone(s.ranges)
}

// followPeers notes who is in the reachable network, and how removals end.
func (c *Chronicle) followPeers(at moment) {
	s := c.state
	for name := range s.leases {
		if _, known := s.turns[name]; !known {
			s.turns[name] = nil
		}
	}
	for name, turns := range s.turns {
		now := s.reachable(name)
		if len(turns) == 0 || turns[len(turns)-1].reachable != now {
			s.turns[name] = append(turns, turn{at, now})
		}
	}
	for _, r := range s.removals {
		if !s.declared[string(r.UID)] {
			s.declared[string(r.UID)] = true
			c.tallies.Declared++
		}
	}
	for _, p := range s.peers {
		uid := string(p.UID)
		was, is := s.phases[uid], inventory.Phase(p)
		s.phases[uid] = is
		switch {
		case is == was:
		case is == v1alpha1.PhaseRemoved:
			c.ended(p)
		case is == v1alpha1.PhaseActive && was == v1alpha1.PhaseFencing:
			c.tallies.Cancelled++
		}
	}
}

func (c *Chronicle) ended(p *v1alpha1.Peer) {
	how := "unknown"
	if p.Spec.Removal != nil && p.Status.Removal != nil {
		how = string(p.Spec.Removal.Reason) + ", " + string(p.Status.Removal.Evidence)
	}
	if c.tallies.Removed == nil {
		c.tallies.Removed = map[string]int{}
	}
	c.tallies.Removed[how]++
}
