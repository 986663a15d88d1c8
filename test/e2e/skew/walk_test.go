// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package skew

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/selvage-net/selvage/test/e2e/chaos/chronicle"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

// install applies kinds, rights and policies of a version.
func (s *stage) install(v *version) {
	s.t.Helper()
	s.must(s.Plane.Install(s.t.Context(), filepath.Join(v.source, "config", "default"), filepath.Join(v.source, "config", "crd-guard")))
}

// decide has so many of the controllers be of that version.
func (s *stage) decide(v *version, controllers ...*world.Controller) {
	s.t.Helper()
	for _, c := range controllers {
		s.must(c.Replace(v.bin))
	}
}

// serve has agents and plugins of these machines be of that version.
func (s *stage) serve(v *version, machines ...*world.Machine) {
	s.t.Helper()
	for _, m := range machines {
		s.must(m.Replace(v.bin))
	}
}

// TestWalk goes from the old version to the new one step by step, back again,
// and then in the wrong order. In each state two pods talk without losing a
// word and keep their addresses, a removal ends, its peer comes back, pods start
// everywhere, and no audit finds anything.
func TestWalk(t *testing.T) {
	for _, v := range []*version{old, current} {
		if err := v.build(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s := newStage(t, old)
	c, m := s.Controllers, s.Machines
	for i, step := range []struct {
		name string
		do   func()
	}{
		{"all is old", func() {}},
		{"up: new kinds, rights and policies", func() { s.install(current) }},
		{"up: one of two controllers is new", func() { s.decide(current, c[0]) }},
		{"up: new controllers", func() { s.decide(current, c[1]) }},
		{"up: one new agent, which inherits", func() { s.serve(current, m[0]) }},
		{"up: a new agent is removed, an old one sees it", func() { s.serve(current, m[2]) }},
		{"up: all is new", func() { s.serve(current, m[1]) }},
		{"back: old controllers, new agents", func() { s.decide(old, c...) }},
		{"back: old agents read what new ones wrote", func() { s.serve(old, m...) }},
		{"back: old kinds, rights and policies", func() { s.install(old) }},
		{"out of order: agents first", func() { s.serve(current, m...) }},
		{"out of order: controllers before the kinds", func() { s.decide(current, c...) }},
		{"out of order: kinds last", func() { s.install(current) }},
	} {
		began, dead := time.Now(), i%2 == 1
		step.do()
		s.holds(dead)
		t.Logf("%s (the peer removed was alive: %t): %s", step.name, !dead, time.Since(began).Round(100*time.Millisecond))
		if t.Failed() {
			t.Fatalf("in the state %q", step.name)
		}
	}
	s.judge()
}

// holds is what is promised in every state. The peer that is removed is alive or
// dead.
func (s *stage) holds(dead bool) {
	s.t.Helper()
	for _, m := range s.Machines {
		s.await(m.Name+" to serve", s.serves(m))
	}
	s.remove(s.Machines[2], s.Machines[0].Name, dead)
	for _, m := range s.Machines {
		s.starts(m)
	}
	s.sameAsEver()
	s.check()
	s.must(s.chronicle.Settle(s.t.Context()))
	for _, f := range s.chronicle.Findings() {
		s.t.Error(f)
	}
}

// starts: a pod starts there, is heard by a steady one, and ends.
func (s *stage) starts(m *world.Machine) {
	s.t.Helper()
	began := s.Now()
	pod := s.runPod(m)
	deadline := time.Now().Add(patience)
	for {
		s.steady[1].Ask(pod.Address)
		<-time.After(askEvery)
		_, heard := s.History.Snapshot()
		for i := len(heard) - 1; i >= 0 && heard[i].Span.Return >= began; i-- {
			if heard[i].Address == pod.Address && heard[i].By == "steady2" {
				s.must(pod.End())
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("a new pod on %s (%s) does not answer", m.Name, pod.Address)
		}
	}
}

// sameAsEver: the steady pods have their addresses, and their machines are the
// peers that they were.
func (s *stage) sameAsEver() {
	s.t.Helper()
	for i, pod := range s.steady {
		if !pod.Connected() {
			s.t.Errorf("the link of steady pod %d is down", i+1)
		}
	}
	s.chronicle.Look(func(v chronicle.View) {
		for _, m := range s.Machines[:2] {
			if p := v.Peer(m.Name); p == nil || p.UID != s.peers[m.Name] {
				s.t.Error(fmt.Errorf("%s is not the peer that it was: %+v", m.Name, p))
			}
		}
	})
	for _, m := range s.Machines {
		if n := m.Ended(); n != 0 {
			s.t.Errorf("the agent of %s has ended by itself %d times", m.Name, n)
		}
	}
}
