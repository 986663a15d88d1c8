// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
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

// exhibitPlay plays a scenario of the test's own without and with a rule: it
// has to break something just without.
func exhibitPlay(t *testing.T, rule string, hosts int, play func(*stage)) {
	t.Helper()
	for _, off := range []bool{true, false} {
		var cfg ownership.Config
		if off {
			cfg = cfg.Without(ownership.Rules[rule])
		}
		s := newStage(cfg, hosts)
		play(s)
		if broken := len(s.broken)+len(s.Violations) > 0; broken != off {
			t.Errorf("rule %s off: %t, and broken: %v %v", rule, off, s.broken, s.Violations)
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

func (s *stage) ownerOf(addr string) string {
	for _, r := range s.Store.Snapshot().Ranges {
		if r.CIDR.Contains(netip.MustParseAddr(addr)) {
			return r.Owner.Name
		}
	}
	return ""
}

// owns is how many ranges a host has.
func (s *stage) owns(name string) (n int) {
	for _, r := range s.Store.Snapshot().Ranges {
		if r.Owner.Name == name {
			n++
		}
	}
	return n
}

// weave#1949, #3190, #3722: several peers took over the same removed peer, and
// gave out the same addresses.
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
	if got := s.ownerOf("10.0.0.8"); got != "host1" {
		t.Errorf("host3's range is %q's", got)
	}
	s.held(t)
	s.rested(t)
}

// weave#3393: a live node without an address was taken for dead, and removed.
func TestMuseum_weave_3393_a_live_node_without_an_address(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	n, _ := s.Store.Node("host3")
	n.Addresses = nil
	s.Store.SetNode(n)
	s.work(12, "host1", "host2", "host3")
	// Nor if its agent is being replaced meanwhile, and its lease runs out.
	s.silence("host3")
	s.work(12, "host1", "host2")
	if p, ok := s.Store.Peer("host3"); !ok || p.Removal != nil {
		t.Errorf("host3 was removed: %v", p.Removal)
	}
	s.held(t)
}

// weave#3397, #3394: a node's name came back, and the name was the identity.
func TestMuseum_weave_3397_a_name_comes_back(t *testing.T) {
	exhibit(t, "OrphanUID")
	s := newStage(ownership.Config{}, 3)
	before := s.ownerOf("10.0.0.8")
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

// weave#2797, #3602: dead nodes' space never came back, and the cluster ran out.
func TestMuseum_weave_2797_space_of_dead_nodes(t *testing.T) {
	exhibit(t, "Orphans")
	s := newStage(ownership.Config{}, 3)
	s.PowerOff(s.Host("host3"))
	s.Store.DeleteNode("host3")
	s.work(15, "host1", "host2")
	if _, ok := s.Store.Peer("host3"); ok || s.ownerOf("10.0.0.8") == "host3" {
		t.Errorf("host3 is still there: %v", s.Peers())
	}
	s.rested(t)
}

// calico#3940, #9182, #12257: addresses in use were collected because a node was
// missing from a listing, was re-imaged, or was renamed.
func TestMuseum_calico_3940_missing_reimaged_or_renamed(t *testing.T) {
	// Missing, or renamed, and its agent lives: its lease says so.
	exhibitPlay(t, "NodeLease", 3, func(s *stage) {
		s.Store.DeleteNode("host3")
		s.work(12, "host1", "host2", "host3")
		if p, ok := s.Store.Peer("host3"); !ok || p.Removal != nil {
			s.found(ownership.Fenced, "host3", "is removed while it lives")
		}
	})
	// Re-imaged, and another instance contends: while the one that is known may
	// still allocate, nothing of its goes.
	exhibitPlay(t, "Watch", 3, func(s *stage) {
		h := s.Host("host3")
		h.Cut = true
		p, _ := s.Store.Peer("host3")
		s.Store.Report("host3", p.UID, func(r *ownership.Report) { r.Contender = "another-instance" })
		s.work(2, "host1", "host2")
		if p, ok := s.Store.Peer("host3"); !ok || p.Removal != nil {
			s.found(ownership.Fenced, "host3", "is removed while it may allocate")
		}
	})
}

// calico#5218, #8643: addresses and blocks of nodes long gone were never freed.
func TestMuseum_calico_5218_blocks_of_nodes_long_gone(t *testing.T) {
	exhibit(t, "Orphans", "LeaseSpent")
	s := newStage(ownership.Config{}, 3)
	for _, name := range []string{"host2", "host3"} {
		s.PowerOff(s.Host(name))
		s.Store.DeleteNode(name)
	}
	s.Store.StripPeer("host3") // by hand, its finalizer too
	s.work(30, "host1")
	snap := s.Store.Snapshot()
	if len(snap.Peers) != 1 || len(snap.Leases) != 1 || s.owns("host1") != len(snap.Ranges) {
		t.Errorf("left: peers %v, ranges %v, %d leases; waits %v", s.Peers(), s.Ownership(), len(snap.Leases), s.Waits())
	}
	s.held(t)
	s.rested(t)
}

// calico#3187: an upgrade of the controller deleted every node's entry, and
// 5,000 pods were cut off.
func TestMuseum_calico_3187_every_node_at_once(t *testing.T) { exhibit(t, "Breaker", "NodeLease") }

// calico#10778, libcalico-go#1377, kubernetes#70957: the size of blocks or node
// masks was changed, and they overlapped.
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

// flannel#1289: a host was back after its lease had ended, and took its subnet
// again.
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

// coil#204, cilium#17837: a dead node's finalizer never cleared.
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

// origin#19080: a host's address was recycled, and the flows of the wrong node
// were deleted.
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
