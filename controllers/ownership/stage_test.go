// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

// stage is a small cluster on which a scenario is played.
type stage struct {
	*model.World
	c *model.Controller
	// broken are the scenario's own findings.
	broken []ownership.Violation
}

// newStage is a pool of 16 addresses in ranges of 4, and hosts that serve.
func newStage(cfg ownership.Config, hosts int) *stage {
	w := model.NewWorld(time.Minute)
	w.Store.Lax = true // the schema's own rules would hide what a decision does
	p := ownership.Pool{CIDR: netip.MustParsePrefix("10.0.0.0/28"), First: 30, Max: 30}
	p.Name = "default"
	w.Store.AddPool(p)
	if cfg.MaxRemovals == 0 {
		cfg.MaxRemovals = 1
	}
	s := &stage{World: w, c: w.AddController(cfg)}
	for i := range hosts {
		h := w.AddHost(fmt.Sprintf("host%d", i+1))
		h.Headroom = 1
		w.StartAgent(h)
	}
	w.Run(time.Minute)
	return s
}

func (s *stage) found(invariant, name, format string, args ...any) {
	s.broken = append(s.broken, ownership.Violation{Invariant: invariant, Name: name, Message: fmt.Sprintf(format, args...)})
}

func (s *stage) declare(name, heir string) {
	d := ownership.Declaration{Heir: heir}
	d.Name = name
	if err := s.Store.Declare(d); err != nil {
		panic(err)
	}
}

// passes lets the controller decide and write, a few times, and nobody else.
func (s *stage) passes() {
	for range 12 {
		s.Pass(s.c)
	}
}

// work lets the named hosts work, and the controller, for so many renewals.
func (s *stage) work(renewals int, hosts ...string) {
	for range renewals {
		for _, name := range hosts {
			s.Work(s.Host(name))
		}
		s.passes()
		s.CheckHolders()
		s.Tick(20 * time.Second)
	}
}

func (s *stage) phase(name string) ownership.Phase {
	p, _ := s.Store.Peer(name)
	return p.Phase
}

// silence: the agent and the kubelet of a machine are gone, its kernel and
// pods go on.
func (s *stage) silence(name string) {
	s.StopAgent(s.Host(name))
	s.Host(name).Silent = true
}
