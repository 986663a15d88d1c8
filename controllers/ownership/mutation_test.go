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

// mutants says, for each rule, which invariant breaks without it, and how.
var mutants = map[string]struct {
	breaks string
	play   func(*stage)
	hosts  int
}{
	"Verify": {ownership.Disjoint, func(s *stage) {
		for _, cidr := range []string{"10.0.0.0/29", "10.0.0.4/30"} {
			if err := s.Store.Apply(ownership.CreateRange{Pool: "default", CIDR: netip.MustParsePrefix(cidr)}); err != nil {
				panic(err)
			}
		}
		for _, name := range []string{"host1", "host2", "host3", "host4"} {
			s.StartAgent(s.AddHost(name))
		}
		s.work(6, "host1", "host2", "host3", "host4")
	}, 0},
	"VerifyPods": {model.OneHolder, func(s *stage) {
		s.Store.PutPod(ownership.Pod{UID: "old", Name: "old", Node: "elsewhere", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.5")}})
		s.Host("host1").Headroom = 12
		s.work(5, "host1")
		snap := s.Store.Snapshot()
		for _, r := range snap.Ranges {
			if r.Owner.Name != "" && r.CIDR.Contains(netip.MustParseAddr("10.0.0.5")) {
				s.found(model.OneHolder, r.Name, "granted, with a pod's address in it")
			}
		}
	}, 1},
	"Seal": {ownership.Fenced, func(s *stage) {
		s.declare("host3", "host1")
		s.work(4, "host1", "host2", "host3")
	}, 3},
	"SealGeneration": {ownership.Fenced, func(s *stage) {
		// Acknowledged and sealed, then cancelled; while the agent is taking
		// its lease again the removal is declared anew.
		s.declare("host3", "host1")
		for range 3 {
			s.Pass(s.c)
		}
		s.Sync(s.Host("host3"))
		s.Pass(s.c) // seals
		s.Store.Undeclare("host3")
		s.passes()
		s.Sync(s.Host("host3"))
		s.TakeRead(s.Host("host3"))
		s.Sync(s.Host("host3"))
		s.declare("host3", "host1")
		s.passes()
		s.TakeWrite(s.Host("host3"))
		s.work(1, "host1", "host2")
	}, 3},
	"Watch": {ownership.Fenced, func(s *stage) {
		s.Host("host3").Cut = true
		s.declare("host3", "host1")
		s.work(2, "host1", "host2")
	}, 3},
	"WatchSealed": {ownership.Fenced, func(s *stage) {
		s.declare("host3", "host1")
		for range 3 {
			s.Pass(s.c)
		}
		s.Sync(s.Host("host3"))
		s.Pass(s.c) // acknowledged: sealed at once
		s.Store.Undeclare("host3")
		s.passes()
		s.Sync(s.Host("host3")) // it serves again, as far as it knows
		s.Host("host3").Cut = true
		s.declare("host3", "host1")
		s.passes()
	}, 3},
	"AckGeneration": {ownership.Fenced, func(s *stage) {
		s.declare("host3", "host1")
		for range 3 {
			s.Pass(s.c)
		}
		s.Sync(s.Host("host3")) // acknowledges
		s.Store.Undeclare("host3")
		s.passes()
		s.Work(s.Host("host3")) // serves again
		s.declare("host3", "host1")
		s.passes()
	}, 3},
	"Barrier": {model.OneHolder, func(s *stage) { outlive(s, nil, nil) }, 3},
	"BarrierAbsent": {model.OneHolder, func(s *stage) {
		// It allocates for as long as its last renewal lets it.
		outlive(s, nil, func(h *model.Host) { s.Store.DeleteLease(h.Name) })
	}, 3},
	"BarrierSealed": {model.OneHolder, func(s *stage) {
		outlive(s, func(h *model.Host) {
			l, _ := s.Store.Lease(h.Name)
			_ = s.Store.Apply(ownership.SealLease{Before: l})
			s.TakeRead(h)
			s.Sync(h)
		}, nil)
	}, 3},
	"BarrierWatch": {model.OneHolder, func(s *stage) { outlive(s, nil, nil) }, 3},
	"Reserve": {model.OneHolder, func(s *stage) {
		burn(s, "host1")
		for range 8 {
			a, _ := s.Allocate(s.Host("host1"))
			for _, p := range s.Store.Snapshot().Pods {
				if slices.Contains(p.Addresses, a) {
					s.found(model.OneHolder, "", "%s was given out while pod %s carries it", a, p.Name)
				}
			}
		}
	}, 3},
	"ReservedStay": {ownership.NoLoss, func(s *stage) { burn(s, "") }, 3},
	"Epoch":        {ownership.Monotone, func(*stage) {}, 1},
	"HeirFixed": {ownership.OneHeir, func(s *stage) {
		s.Host("host2").Cut = true // holds the barrier up
		s.declare("host3", "host1")
		s.work(2, "host1", "host3")
		s.declare("host1", "")
		s.work(4, "host1", "host3")
	}, 3},
	"HeirReady": {ownership.NoLoss, func(s *stage) {
		s.declare("host1", "host2")
		s.declare("host2", "host1")
		s.work(6, "host1", "host2", "host3")
		for _, v := range unended(s) {
			if s.phase(v.Name) == ownership.Transferring {
				s.broken = append(s.broken, v)
			}
		}
	}, 3},
	"Orphans": {ownership.NoLoss, func(s *stage) {
		s.Store.StripPeer("host3")
		s.PowerOff(s.Host("host3"))
		s.work(12, "host1", "host2")
		s.broken = append(s.broken, unended(s)...)
	}, 3},
	"OrphanUID": {ownership.NoLoss, func(s *stage) {
		s.Store.StripPeer("host3")
		s.PowerOff(s.Host("host3"))
		if _, err := s.Store.CreatePeer("host3", "", "another-instance"); err != nil {
			panic(err)
		}
		s.work(12, "host1", "host2")
		s.broken = append(s.broken, unended(s)...)
	}, 3},
	"OrphanHolder": {ownership.Fenced, func(s *stage) {
		// Its Peer is gone, and host3's agent does not look: it renews. After
		// long its Lease is deleted by hand, and another machine of its name
		// joins and takes one.
		h := s.Host("host3")
		s.Store.StripPeer("host3")
		for range 6 {
			s.RenewSend(h)
			s.RenewLand(h)
			s.work(1, "host1", "host2")
		}
		s.Store.DeleteLease("host3")
		p, err := s.Store.CreatePeer("host3", "", "another-instance")
		if err != nil {
			panic(err)
		}
		took := ownership.Lease{Holder: p.UID + "/1", Duration: time.Minute, CutOff: []string{h.UID()}}
		took.Name = "host3"
		if _, err := s.Store.PutLease(ownership.Lease{}, took); err != nil {
			panic(err)
		}
		s.work(1, "host1", "host2")
	}, 3},
	"GiveBackSealed": {ownership.Fenced, func(s *stage) {
		s.Host("host1").Headroom = 14
		s.work(6, "host1")
		s.Host("host1").Headroom = 1
		s.Work(s.Host("host1"))
		s.StartAgent(s.AddHost("host2"))
		s.Work(s.Host("host2"))
		s.passes()
	}, 1},
	"Breaker": {"Breaker", func(s *stage) {
		s.c.Config.MaxRemovals = 0.2
		for _, name := range []string{"host1", "host2", "host3", "host4"} {
			s.silence(name)
			s.Store.DeleteNode(name)
		}
		s.work(8)
		for _, name := range []string{"host1", "host2", "host3", "host4"} {
			if p, ok := s.Store.Peer(name); !ok || p.Removal != nil {
				s.found("Breaker", name, "goes, with all others")
			}
		}
	}, 4},
	"NodeLease": {ownership.Fenced, func(s *stage) {
		s.Store.DeleteNode("host3")
		for range 6 {
			s.Work(s.Host("host3"))
			s.passes()
			if p, _ := s.Store.Peer("host3"); p.Removal != nil {
				s.found(ownership.Fenced, "host3", "is removed while it lives")
				return
			}
			s.Tick(20 * time.Second)
		}
	}, 3},
	"RemovedEmpty": {ownership.NoLoss, func(s *stage) {
		s.declare("host3", "host1")
		for range 12 {
			s.Work(s.Host("host1"))
			s.Work(s.Host("host2"))
			s.Work(s.Host("host3"))
			for !s.Read(s.c) {
			}
			s.Decide(s.c)
			for s.c.Pending() > 0 {
				_, _ = s.Write(s.c)
			}
			for _, r := range s.Store.Snapshot().Ranges {
				if r.Owner.Name == "host3" && s.phase("host3") == ownership.Removed {
					s.found(ownership.NoLoss, r.Name, "of host3, which is Removed")
				}
			}
		}
	}, 3},
	"Term": {model.OneHolder, func(s *stage) {
		s.forgets()
		s.Host("host2").Headroom = 5
		for range 3 {
			s.Work(s.Host("host2"))
			s.passes()
		}
		s.Work(s.Host("host2"))
		for range 6 {
			s.Allocate(s.Host("host2"))
		}
		s.Sync(s.Host("host1"))
		s.Sync(s.Host("host2"))
		s.CheckHolders()
	}, 2},
	"Forgotten": {model.OneHolder, func(s *stage) {
		s.forgets()
		s.Work(s.Host("host1")) // it says so
		s.StopAgent(s.Host("host1"))
		s.Host("host2").Headroom = 5
		s.work(8, "host2")
		for range 6 {
			s.Allocate(s.Host("host2"))
		}
		s.Sync(s.Host("host2"))
		s.CheckHolders()
	}, 2},
	"PoolOverlap": {ownership.Disjoint, func(s *stage) {
		p := ownership.Pool{CIDR: netip.MustParsePrefix("10.0.0.8/29"), First: 30, Max: 30}
		p.Name = "another"
		s.Store.AddPool(p)
		s.passes()
		snap := s.Store.Snapshot()
		s.broken = append(s.broken, ownership.Check(&snap)...)
	}, 1},
	"OutOfService": {ownership.Fenced, func(s *stage) { forgetTaint(s) }, 3},
	"Kubelet": {"Kubelet", func(s *stage) {
		h := s.Host("host3")
		a, _ := s.Allocate(h)
		s.PostPod(h, a)
		s.StopAgent(h)
		s.declare("host3", "host1")
		s.work(8, "host1", "host2", "host3")
		if s.phase("host3") != ownership.Fencing {
			s.found("Kubelet", "host3", "%s, with its kubelet alive and a pod on it", s.phase("host3"))
		}
	}, 3},
	"LeaseSpent": {ownership.NoLoss, func(s *stage) {
		// What is deleted as soon as it is sealed is never watched.
		s.PowerOff(s.Host("host3"))
		s.Store.DeleteLease("host3")
		s.declare("host3", "host1")
		s.work(12, "host1", "host2")
		s.broken = append(s.broken, unended(s)...)
	}, 3},
}

// forgets: host1 grows and gives out addresses, and etcd is restored to before
// that, under another leader.
func (s *stage) forgets() {
	backup := s.Store.Clone()
	s.Host("host1").Headroom = 5
	s.work(4, "host1", "host2")
	for range 6 {
		s.Allocate(s.Host("host1"))
	}
	s.Store.Restore(backup)
	s.Term, s.c.Config.Term = "new", "new"
	s.c.Crash()
}

// TestMutants switches each rule off in turn. With the rule the scenario
// breaks nothing; without it, it breaks the invariant that the rule guards.
func TestMutants(t *testing.T) {
	for _, name := range sortedNames(ownership.Rules) {
		m, ok := mutants[name]
		if !ok {
			t.Errorf("%s: no scenario shows what breaks without it", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, off := range []bool{false, true} {
				var cfg ownership.Config
				if off {
					cfg = cfg.Without(ownership.Rules[name])
				}
				s := newStage(cfg, m.hosts)
				m.play(s)
				got := append(s.broken, s.Violations...)
				broken := slices.ContainsFunc(got, func(v ownership.Violation) bool { return v.Invariant == m.breaks })
				switch {
				case !off && len(got) > 0:
					t.Errorf("the rule holds, and yet: %v", got)
				case off && !broken:
					t.Errorf("without the rule nothing breaks %s; violations: %v; peers: %v, ranges: %v, waits: %v", m.breaks, got, s.Peers(), s.Ownership(), s.Waits())
				}
			}
		})
	}
}

func sortedNames[V any](m map[string]V) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
