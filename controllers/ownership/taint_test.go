// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// A taint that was forgotten on a machine that runs costs nothing but the wait
// for the kubelet: the machine's lease has to run out all the same.
func TestForgottenTaint(t *testing.T) {
	s := newStage(ownership.Config{}, 3)
	h := s.Host("host3")
	a, _ := s.Allocate(h)
	s.PostPod(h, a) // or the kubelet would not matter
	after := forgetTaint(s)
	if got := s.evidenceOf("host3"); got != ownership.NodeOutOfService {
		t.Errorf("after %s: %q", after, got)
	}
	// An agent allocates for 54 s after its last renewal; who watches waits 66.
	if after < time.Minute || after > 75*time.Second {
		t.Errorf("its ranges move after %s", after)
	}
	s.held(t)
}

func (s *stage) evidenceOf(name string) ownership.Evidence {
	p, _ := s.Store.Peer(name)
	if p.Result == nil {
		return ""
	}
	return p.Result.Evidence
}
