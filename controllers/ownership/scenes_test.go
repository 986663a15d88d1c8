// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

// outlive lets host3's agent and kubelet die while its kernel and pods go on,
// and its ranges go to host1, while host2 has an old view of things: it hears
// host3 still. It is prepared before the removal, or something is done to it as
// the ranges are about to move; if neither, it renews until then.
func outlive(s *stage, prepare, moving func(*model.Host)) {
	s.Allocate(s.Host("host3"))
	s.silence("host3")
	survivor := s.Host("host2")
	if prepare != nil {
		for range 3 {
			s.work(1, "host1")
		}
		prepare(survivor)
	}
	s.declare("host3", "host1")
	for range 6 {
		s.Work(s.Host("host1"))
		s.passes()
		if prepare == nil && s.phase("host3") != ownership.Transferring {
			// Up to here it renews, and sees nothing new.
			s.RenewSend(survivor)
			s.RenewLand(survivor)
		}
		if s.phase("host3") == ownership.Transferring || s.phase("host3") == ownership.Removed {
			break
		}
		s.Tick(20 * time.Second)
	}
	if moving != nil {
		moving(survivor)
	}
	for range 3 {
		s.Work(s.Host("host1"))
		s.passes()
	}
	for range 8 {
		s.Allocate(s.Host("host1"))
	}
	s.TakeWrite(survivor)
	s.CheckHolders()
}

// burn lets host3, whose pod is posted, go up in flames, and removes it.
func burn(s *stage, heir string) {
	h := s.Host("host3")
	for range 4 {
		if a, ok := s.Allocate(h); ok {
			s.PostPod(h, a)
		}
	}
	for range 4 {
		if a, ok := s.Allocate(s.Host("host1")); ok {
			s.PostPod(s.Host("host1"), a)
		}
	}
	s.PowerOff(h)
	h.Silent = true
	s.declare("host3", heir)
	s.work(10, "host1", "host2")
}

// forgetTaint: host3 runs, with pods and with a taint that says it is off, and
// is cut off from the API server as it is removed. It looks every five seconds,
// at most so long, and returns when host3's ranges were given up.
func forgetTaint(s *stage) (after time.Duration) {
	h := s.Host("host3")
	s.RenewSend(h)
	s.RenewLand(h)
	h.Cut = true
	n, _ := s.Store.Node("host3")
	n.OutOfService = true
	s.Store.SetNode(n)
	s.declare("host3", "host1")
	for ; after < 3*time.Minute; after += 5 * time.Second {
		s.Work(s.Host("host1"))
		s.Work(s.Host("host2"))
		s.Store.Beat("host3") // its kubelet reaches the API server
		s.passes()
		if s.phase("host3") == ownership.Transferring || s.phase("host3") == ownership.Removed {
			return after
		}
		s.Tick(5 * time.Second)
	}
	return after
}

func unended(s *stage) []ownership.Violation {
	snap := s.Store.Snapshot()
	return ownership.Unsettled(&snap)
}
