// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

// stall lets a host's agent begin to take a Lease that is not there, and go no
// further: it has read that, and has made its LISTs.
func stall(s *stage, name string) {
	h := s.Host(name)
	s.StopAgent(h)
	s.Store.DeleteLease(name)
	s.StartAgent(h)
	s.TakeRead(h)
	s.Sync(h)
}

// vanish removes a host for good, and deletes its Node and its removal, while
// its machine reaches nobody. It leaves a sealed Lease.
func vanish(s *stage, name, heir string) {
	h := s.Host(name)
	h.Cut, h.Silent = true, true
	s.Store.DeleteNode(name)
	s.declare(name, heir)
	for range 20 {
		s.work(1, "host1", "host2")
		if _, there := s.Store.Peer(name); !there {
			break
		}
	}
	s.Store.Undeclare(name)
	s.passes()
	h.Cut = false
}

// TestLeasesOfTheGoneAreDeleted: one host after another comes and goes, and
// leaves nothing behind.
func TestLeasesOfTheGoneAreDeleted(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	s.PowerOff(s.Host("host3"))
	vanish(s, "host3", "host1")
	if l, there := s.Store.Lease("host3"); !there || l.Holder != model.Sealed {
		t.Fatalf("host3's lease before its time is over: %+v, there: %t", l, there)
	}
	s.work(6, "host1", "host2")
	if l, there := s.Store.Lease("host3"); there {
		t.Errorf("host3's lease is left: %+v", l)
	}
	for _, name := range []string{"host1", "host2"} {
		if l, there := s.Store.Lease(name); !there || l.Holder == model.Sealed {
			t.Errorf("%s's lease: %+v, there: %t", name, l, there)
		}
	}
	s.held(t)
	s.rested(t)

	// The name comes back, as somebody else.
	h := s.Host("host3")
	h.On, h.Silent = true, false
	s.Store.SetNode(ownership.Node{Name: "host3", Addresses: []netip.Addr{netip.MustParseAddr("192.168.77.3")}})
	s.StartAgent(h)
	s.work(4, "host1", "host2", "host3")
	if h.Mode != model.Serving {
		t.Errorf("host3 is back, and %s", h.Mode)
	}
	s.held(t)
}

// TestAnAbsentLeaseIsNotTaken: an agent reads that its Lease is absent, and
// stalls. Meanwhile its peer is removed, and the Lease that was sealed for that
// is deleted: it is absent again. Absence has no version, so an agent that took
// a Lease by creating it would hold one.
func TestAnAbsentLeaseIsNotTaken(t *testing.T) {
	for _, takes := range []bool{false, true} {
		s := newStage(ownership.Config{}, 3)
		s.TakesAbsent = takes
		h := s.Host("host3")
		stall(s, "host3")
		vanish(s, "host3", "host1")
		s.work(6, "host1", "host2")
		if l, there := s.Store.Lease("host3"); there {
			t.Fatalf("host3's lease is there: %+v", l)
		}
		s.TakeWrite(h)
		a, ok := s.Allocate(h)
		broken := slices.ContainsFunc(s.Violations, func(v ownership.Violation) bool { return v.Invariant == ownership.Fenced })
		if ok != takes || broken != takes {
			t.Errorf("takes what is absent: %t, and gives out %s: %t; violations %v", takes, a, ok, s.Violations)
		}
	}
}

// named gives an object host3's name.
func named(o *ownership.Object) { o.Name, o.UID, o.Version = "host3", "u", "v1" }

// spentCases are clusters with a sealed Lease, in all but one of which a single
// condition for its deletion does not hold.
var spentCases = map[string]struct {
	change func(*ownership.Snapshot)
	cfg    ownership.Config
	early  bool
	want   bool
}{
	"nobody has the name":           {want: true},
	"not watched for its full time": {early: true},
	"held":                          {change: func(s *ownership.Snapshot) { s.Leases[0].Holder = "u/run" }},
	"being deleted already":         {change: func(s *ownership.Snapshot) { s.Leases[0].Deleting = true }},
	"a Peer": {change: func(s *ownership.Snapshot) {
		p := ownership.Peer{Phase: ownership.Removed, Removal: &ownership.Removal{}, Result: &ownership.Result{Evidence: ownership.Asserted}}
		named(&p.Object)
		p.NodeUID = "n"
		p.Deleting = true // and its finalizer is gone: nothing else is to be done
		s.Peers = append(s.Peers, p)
	}},
	"a PeerRemoval": {change: func(s *ownership.Snapshot) {
		r := ownership.Declaration{Done: true}
		named(&r.Object)
		s.Removals = append(s.Removals, r)
	}},
	"a Node": {change: func(s *ownership.Snapshot) { s.Nodes = append(s.Nodes, ownership.Node{Name: "host3", UID: "n"}) }},
	"a range of an incarnation that is gone": {change: func(s *ownership.Snapshot) {
		r := ownership.Range{Pool: "default", CIDR: netip.MustParsePrefix("10.0.0.0/30"), Epoch: 1, Owner: ownership.Ref{Name: "host3", UID: "u"}}
		r.Name, r.UID, r.Version = "10.0.0.0", "r", "v2"
		s.Ranges = append(s.Ranges, r)
	}},
	"agents have yet to compare their memory": {cfg: ownership.Config{Term: "new"}, change: func(s *ownership.Snapshot) {
		l := ownership.Lease{Holder: "w/run", Duration: time.Hour, Term: "old"}
		l.Name, l.UID, l.Version = "host1", "l1", "v3"
		s.Leases = append(s.Leases, l)
	}},
}

// TestSpent: a Lease is deleted if all conditions hold, and kept if one does not.
func TestSpent(t *testing.T) {
	for title, c := range spentCases {
		l := ownership.Lease{Holder: model.Sealed, Duration: time.Minute, SealedFor: []string{"u@2"}}
		l.Name, l.UID, l.Version = "host3", "l", "v1"
		s := &ownership.Snapshot{Consistent: true, Leases: []ownership.Lease{l}}
		if c.change != nil {
			c.change(s)
		}
		m := ownership.NewMemory()
		m.Observe(s, time.Hour)
		now := time.Hour + 66*time.Second
		if c.early {
			now--
		}
		m.Observe(s, now)
		d := ownership.Decide(s, m, now, c.cfg)
		got := slices.ContainsFunc(d.Writes, func(w ownership.Write) bool {
			del, ok := w.(ownership.DeleteLease)
			return ok && del.Lease.UID == "l" && del.Lease.Version == "v1"
		})
		if got != c.want {
			t.Errorf("%s: deleted: %t; writes %v", title, got, d.Writes)
		}
		if c.early && (d.Recheck == 0 || d.Recheck > time.Hour+66*time.Second) {
			t.Errorf("%s: looks again at %s", title, d.Recheck)
		}
	}
}
