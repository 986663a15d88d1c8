// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

// The museum's failures of who writes, and on what view of things.

// cilium#21482, kubernetes#29058: ranges were granted before all existing
// grants had been read.
func TestMuseum_cilium_21482_granted_before_all_was_read(t *testing.T) {
	exhibit(t, "Verify")
	s := newStage(ownership.Config{}, 3)
	s.c.Crash()
	s.StartAgent(s.AddHost("host4"))
	s.work(4, "host1", "host2", "host3", "host4")
	s.held(t)
}

// cilium#41986, #42920: a pool was shrunk and restored while two leaders acted,
// and one range was given to two nodes. Here one leader still has the pool's
// former size before its eyes.
func TestMuseum_cilium_41986_two_leaders(t *testing.T) {
	exhibitPlay(t, "Verify", 1, func(s *stage) {
		second := s.AddController(s.c.Config)
		for _, name := range []string{"host2", "host3", "host4"} {
			s.StartAgent(s.AddHost(name))
			s.Work(s.Host(name))
		}
		look := func(c *model.Controller) {
			for !s.Read(c) {
			}
			s.Decide(c)
		}
		write := func(c *model.Controller) {
			for c.Pending() > 0 {
				_, _ = s.Write(c)
			}
		}
		look(second) // and is held up
		p := s.Store.Snapshot().Pools[0]
		p.First, p.Max = 29, 29
		p.Object = ownership.Object{Name: p.Name, Finalizer: true}
		s.Store.AddPool(p)
		for range 6 {
			look(s.c)
			write(s.c)
			write(second)
			look(second)
		}
		write(second)
	})
	// At peace, each gets one, however many leaders there are.
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

// kubernetes#127792: space was freed at deletionTimestamp, while a finalizer
// held the node.
func TestMuseum_kubernetes_127792_freed_at_deletion_timestamp(t *testing.T) {
	exhibitPlay(t, "Watch", 3, func(s *stage) {
		s.Host("host3").Cut = true // alive, and not heard from
		s.Store.DeletePeer("host3")
		s.work(2, "host1", "host2")
		if got := s.ownerOf("10.0.0.8"); got != "host3" {
			s.found(ownership.Fenced, "10.0.0.8", "host3 may still allocate, and it is %q's", got)
		}
	})
	s := newStage(ownership.Config{}, 3)
	s.Host("host3").Cut, s.Host("host3").Silent = true, true
	s.Store.DeletePeer("host3")
	s.work(15, "host1", "host2")
	s.held(t)
	s.rested(t)
}

// cloud-provider-azure#4556, ovn-kubernetes#4067, calico#12697, coil#271: a
// write whose outcome was unknown was taken for failed.
func TestMuseum_cloud_provider_azure_4556_unknown_outcome(t *testing.T) {
	s := newStage(ownership.Config{}, 2)
	s.PowerOff(s.Host("host2"))
	s.declare("host2", "host1")
	s.StartAgent(s.AddHost("host3"))
	for range 60 {
		for !s.Read(s.c) {
		}
		s.Decide(s.c)
		if s.c.Pending() > 0 {
			_, _ = s.Write(s.c) // it happens, and the controller never hears of it
			s.c.Crash()
		}
		s.Work(s.Host("host1"))
		s.Work(s.Host("host3"))
		s.Tick(5 * time.Second)
	}
	// What was claimed in a write that nobody heard of is granted all the same.
	if got := s.owns("host3"); got == 0 {
		t.Errorf("host3 has joined and owns nothing: %v, waits %v", s.Ownership(), s.Waits())
	}
	// A controller that crashes at each write never watches a lease run out.
	s.work(15, "host1", "host3")
	s.held(t)
	s.rested(t)
	if got := s.ownerOf("10.0.0.4"); got != "host1" {
		t.Errorf("host2's range is %q's", got)
	}
}

// whereabouts#712: a node that could not be reached was taken for gone, and its
// addresses were freed. Here it goes on, and reaches nobody.
func TestMuseum_whereabouts_207_unreachable_is_not_gone(t *testing.T) {
	exhibitPlay(t, "Watch", 3, func(s *stage) {
		h := s.Host("host3")
		h.Cut = true
		n, _ := s.Store.Node("host3")
		n.OutOfService = true // as somebody believes
		s.Store.SetNode(n)
		s.declare("host3", "host1")
		s.work(2, "host1", "host2")
		if a, ok := s.Allocate(h); ok && s.ownerOf(a.String()) != "host3" {
			s.found(ownership.Fenced, "host3", "gives out %s, which is %s's", a, s.ownerOf(a.String()))
		}
	})
}
