// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

// The museum: failures that real systems shipped, each made to fail here by
// switching off the rule that prevents it (where a rule of this package does),
// then held.

// exhibit plays the mutants of the rules, off and on.
func exhibit(t *testing.T, rules ...string) {
	t.Helper()
	for _, rule := range rules {
		for _, off := range []bool{true, false} {
			var cfg ownership.Config
			if off {
				cfg = cfg.Without(ownership.Rules[rule])
			}
			m := mutants[rule]
			s := newStage(cfg, m.hosts)
			m.play(s)
			if broken := len(s.broken)+len(s.Violations) > 0; broken != off {
				t.Errorf("rule %s off: %t, and broken: %v %v", rule, off, s.broken, s.Violations)
			}
		}
	}
}

// held fails the test if anything is broken.
func (s *stage) held(t *testing.T) {
	t.Helper()
	snap := s.Store.Snapshot()
	if all := append(append(s.broken, s.Violations...), ownership.Check(&snap)...); len(all) > 0 {
		t.Errorf("broken: %v", all)
	}
}

// rested fails the test if anything is still under way.
func (s *stage) rested(t *testing.T) {
	t.Helper()
	if left := unended(s); len(left) > 0 {
		t.Errorf("not at rest: %v; waits: %v", left, s.Waits())
	}
}

func (s *stage) ownerOf(t *testing.T, addr string) string {
	t.Helper()
	for _, r := range s.Store.Snapshot().Ranges {
		if r.CIDR.Contains(netip.MustParseAddr(addr)) {
			return r.Owner.Name
		}
	}
	return ""
}

// Several peers took over the same removed peer.
func TestMuseum_weave_1949_several_peers_take_over_one(t *testing.T) {
	exhibit(t, "HeirFixed")
	s := newStage(ownership.Config{}, 3)
	s.AddController(s.c.Config)
	s.PowerOff(s.Host("host3"))
	s.declare("host3", "host1")
	other := ownership.Declaration{Heir: "host2"}
	other.Name = "host3"
	if err := s.Store.Declare(other); err == nil || !strings.Contains(err.Error(), "host1") {
		t.Errorf("the second heir is to be refused, naming the first: %v", err)
	}
	for range 30 {
		for _, c := range s.Controllers {
			s.Pass(c)
		}
		s.Work(s.Host("host1"))
		s.Work(s.Host("host2"))
		s.Tick(20 * time.Second)
	}
	if got := s.ownerOf(t, "10.0.0.8"); got != "host1" {
		t.Errorf("host3's range is %q's", got)
	}
	s.held(t)
	s.rested(t)
}

// A live node without an address was taken for dead, and removed.
func TestMuseum_weave_3393_a_live_node_without_an_address(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	n, _ := s.Store.Node("host3")
	n.Addresses = nil
	s.Store.SetNode(n)
	s.work(12, "host1", "host2", "host3")
	if p, ok := s.Store.Peer("host3"); !ok || p.Removal != nil {
		t.Errorf("host3 was removed: %v", p.Removal)
	}
	s.held(t)
}

// A node's name came back, and the name was the identity.
func TestMuseum_weave_3397_a_name_comes_back(t *testing.T) {
	exhibit(t, "OrphanUID")
	s := newStage(ownership.Config{}, 3)
	before := s.ownerOf(t, "10.0.0.8")
	s.Store.StripPeer("host3")
	s.PowerOff(s.Host("host3"))
	again, err := s.Store.CreatePeer("host3", "", "another-instance")
	if err != nil {
		t.Fatal(err)
	}
	s.work(1, "host1", "host2")
	for _, r := range s.Store.Snapshot().Ranges {
		if r.Owner.UID == again.UID {
			t.Errorf("the new host3 owns %s, which was the old %s's", r.CIDR, before)
		}
	}
	s.work(15, "host1", "host2")
	s.held(t)
	s.rested(t)
}

// Dead nodes' space never came back, and the cluster ran out.
func TestMuseum_weave_2797_space_of_dead_nodes(t *testing.T) {
	exhibit(t, "Orphans")
	s := newStage(ownership.Config{}, 3)
	s.PowerOff(s.Host("host3"))
	s.Store.DeleteNode("host3")
	s.work(15, "host1", "host2")
	if _, ok := s.Store.Peer("host3"); ok || s.ownerOf(t, "10.0.0.8") == "host3" {
		t.Errorf("host3 is still there: %v", s.Peers())
	}
	s.rested(t)
}

// An upgrade of the controller deleted every node's entry.
func TestMuseum_calico_3187_every_node_at_once(t *testing.T) { exhibit(t, "Breaker", "NodeLease") }

// The block size was changed, and blocks overlapped.
func TestMuseum_calico_10778_block_size_changed(t *testing.T) {
	exhibit(t, "Verify")
	s := newStage(ownership.Config{}, 2)
	p := s.Store.Snapshot().Pools[0]
	p.First, p.Max = 31, 28 // ranges of other sizes from now on
	p.Object = ownership.Object{Name: p.Name, Finalizer: true}
	s.Store.AddPool(p)
	s.Host("host1").Headroom = 5
	s.StartAgent(s.AddHost("host3"))
	s.work(6, "host1", "host2", "host3")
	s.held(t)
}

// Collection looped for ever on a sequence number that was stale.
func TestMuseum_calico_PR12839_stale_for_ever(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	slow := s.AddController(s.c.Config)
	s.PowerOff(s.Host("host3"))
	s.declare("host3", "host1")
	for range 40 {
		for !s.Read(slow) {
		}
		s.Decide(slow) // and is overtaken each time
		s.work(1, "host1", "host2")
		for slow.Pending() > 0 {
			_, _ = s.Write(slow)
		}
	}
	s.held(t)
	s.rested(t)
}

// Two acting leaders gave one range to two nodes.
func TestMuseum_cilium_41986_two_leaders(t *testing.T) {
	s := newStage(ownership.Config{}, 0)
	second := s.AddController(s.c.Config)
	for _, name := range []string{"host1", "host2", "host3"} {
		s.StartAgent(s.AddHost(name))
	}
	for range 30 {
		for _, c := range s.Controllers {
			for !s.Read(c) {
			}
		}
		for _, c := range []*model.Controller{second, s.c} {
			s.Decide(c)
		}
		for _, c := range s.Controllers {
			for c.Pending() > 0 {
				_, _ = s.Write(c)
			}
		}
		for _, h := range s.Hosts {
			s.Work(h)
		}
		s.Tick(10 * time.Second)
	}
	owners := map[string]int{}
	for _, r := range s.Store.Snapshot().Ranges {
		owners[r.Owner.Name]++
	}
	if len(owners) != 3 {
		t.Errorf("owners: %v", owners)
	}
	s.held(t)
}

// Ranges were granted before all existing grants had been read.
func TestMuseum_cilium_21482_granted_before_all_was_read(t *testing.T) {
	exhibit(t, "Verify")
	s := newStage(ownership.Config{}, 3)
	s.c.Crash()
	s.StartAgent(s.AddHost("host4"))
	s.work(4, "host1", "host2", "host3", "host4")
	s.held(t)
}

// A pool made after start-up was never seen.
func TestMuseum_cilium_45980_a_pool_made_later(t *testing.T) {
	s := newStage(ownership.Config{}, 1)
	p := ownership.Pool{CIDR: netip.MustParsePrefix("fd00:10::/120"), First: 124, Max: 122}
	p.Name = "six"
	s.Store.AddPool(p)
	s.work(5, "host1")
	if got := s.ownerOf(t, "fd00:10::"); got != "host1" {
		t.Errorf("fd00:10:: is %q's", got)
	}
}

// Space was freed at deletionTimestamp, while a finalizer held the node.
func TestMuseum_kubernetes_127792_freed_at_deletion_timestamp(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	s.Host("host3").Cut = true // alive, and not heard from
	s.Store.DeletePeer("host3")
	s.work(2, "host1", "host2")
	if got := s.ownerOf(t, "10.0.0.8"); got != "host3" {
		t.Errorf("while host3 may still allocate its range is %q's", got)
	}
	s.Host("host3").Silent = true
	s.work(15, "host1", "host2")
	s.held(t)
	s.rested(t)
}

// A write whose outcome was unknown was taken for failed.
func TestMuseum_azure_4556_unknown_outcome(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	s.PowerOff(s.Host("host3"))
	s.declare("host3", "host1")
	for range 60 {
		for !s.Read(s.c) {
		}
		s.Decide(s.c)
		if s.c.Pending() > 0 {
			_, _ = s.Write(s.c) // it happens, and the controller never hears of it
			s.c.Crash()
		}
		s.Work(s.Host("host1"))
		s.Work(s.Host("host2"))
		s.Tick(5 * time.Second)
	}
	// A controller that crashes at each write never watches a lease run out.
	s.work(15, "host1", "host2")
	s.held(t)
	s.rested(t)
	if got := s.ownerOf(t, "10.0.0.8"); got != "host1" {
		t.Errorf("host3's range is %q's", got)
	}
}

// A host was back after its lease had ended, and took its subnet again.
func TestMuseum_flannel_1289_back_after_the_lease(t *testing.T) {
	exhibit(t, "WatchSealed", "SealGeneration")
	s := newStage(ownership.Config{}, 3)
	h := s.Host("host3")
	h.Cut, h.Silent = true, true
	s.RenewSend(h) // stays on its way
	s.declare("host3", "host1")
	s.work(10, "host1", "host2")
	h.Cut = false
	s.RenewLand(h)
	s.CheckHolders()
	if a, ok := s.Allocate(h); ok {
		t.Errorf("it gives out %s", a)
	}
	s.work(3, "host1", "host2", "host3")
	s.held(t)

	// Nor when the lease is not even there any more.
	s = newStage(ownership.Config{}, 3)
	h = s.Host("host3")
	s.RenewSend(h)
	vanish(s, "host3", "host1")
	s.work(6, "host1", "host2")
	if _, there := s.Store.Lease("host3"); there {
		t.Error("host3's lease is left")
	}
	s.RenewLand(h)
	s.work(1, "host3")
	if a, ok := s.Allocate(h); ok {
		t.Errorf("it gives out %s", a)
	}
	s.held(t)
}

// A late cleanup hit what had been revived.
func TestMuseum_whereabouts_176_late_cleanup(t *testing.T) {
	s := newStage(ownership.Config{}, 1)
	claim := ownership.CreateRange{Pool: "default", CIDR: netip.MustParsePrefix("10.0.0.4/30")}
	if err := s.Store.Apply(claim); err != nil {
		t.Fatal(err)
	}
	seen := s.Store.Snapshot()
	i := slices.IndexFunc(seen.Ranges, func(r ownership.Range) bool { return r.Epoch == 0 })
	s.Host("host1").Headroom = 5
	s.work(3, "host1")
	if err := s.Store.Apply(ownership.DeleteRange{Range: seen.Ranges[i]}); !errors.Is(err, model.ErrConflict) {
		t.Errorf("the claim was granted meanwhile, and its deletion says %v", err)
	}
	s.held(t)
}

// A dead node's finalizer never cleared.
func TestMuseum_coil_204_the_finalizer_of_a_dead_node(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	s.PowerOff(s.Host("host3"))
	s.Store.DeletePeer("host3")
	s.Store.DeleteNode("host3")
	s.work(20, "host1", "host2")
	if _, ok := s.Store.Peer("host3"); ok {
		t.Errorf("host3 is held: %v", s.Waits())
	}
}

// An object was deleted by name after the name had been used again.
func TestMuseum_coil_deleted_by_name(t *testing.T) {
	s := newStage(ownership.Config{}, 2)
	was, _ := s.Store.Peer("host2")
	s.Store.StripPeer("host2")
	if _, err := s.Store.CreatePeer("host2", "", "another-instance"); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Apply(ownership.DeletePeer{Peer: was}); !errors.Is(err, model.ErrConflict) {
		t.Errorf("deleting what is gone says %v", err)
	}
}

// A host's address was used again, and the wrong node was meant.
func TestMuseum_origin_19080_one_address_two_peers(t *testing.T) {
	s := newStage(ownership.Config{}, 2)
	n, _ := s.Store.Node("host2")
	one, _ := s.Store.Node("host1")
	n.Addresses = one.Addresses
	s.Store.SetNode(n)
	s.work(3, "host1", "host2")
	a, _ := s.Store.Peer("host1")
	b, _ := s.Store.Peer("host2")
	if len(a.Underlay) != 1 || len(b.Underlay) != 0 {
		t.Errorf("accepted: %v and %v", a.Underlay, b.Underlay)
	}
	if w := s.Waits()["Peer host2"]; !strings.Contains(w, "UnderlayTaken") || !strings.Contains(w, "host1") {
		t.Errorf("host2 is told %q", w)
	}
}
