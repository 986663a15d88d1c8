// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"flag"
	"net/netip"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

var states = flag.Int("states", 1500, "how many states an exploration may visit")

// universe is a scenario to be explored: every order of its actions.
type universe struct {
	start   func(ownership.Config) *model.World
	actions []model.Action
	depth   int
	// mutants are rules without which the exploration must find a violation.
	mutants []string
	// breaks, if any, breaks a rule of the agents': likewise.
	breaks func(*model.World)
}

func twoControllers(cfg ownership.Config, hosts int) *stage {
	s := newStage(cfg, hosts)
	s.AddController(s.c.Config)
	return s
}

var universes = map[string]universe{
	// Two controllers claim and grant, for peers that want ranges of
	// different sizes, while claims of any size lie about.
	"claims": {
		start: func(cfg ownership.Config) *model.World {
			s := twoControllers(cfg, 0)
			for _, name := range []string{"host1", "host2", "host3", "host4"} {
				h := s.AddHost(name)
				h.Headroom = 1
				s.StartAgent(h)
			}
			s.Pass(s.c)
			s.Pass(s.c)
			for _, h := range s.Hosts {
				s.Work(h)
			}
			if err := s.Store.Apply(ownership.CreateRange{Pool: "default", CIDR: netip.MustParsePrefix("10.0.0.0/29")}); err != nil {
				panic(err)
			}
			return s.World
		},
		actions: append(append(model.Actions(0, true), model.Actions(1, true)...),
			model.Action{Name: "somebody claims 10.0.0.4/30", Do: func(w *model.World) bool {
				return w.Store.Apply(ownership.CreateRange{Pool: "default", CIDR: netip.MustParsePrefix("10.0.0.4/30")}) == nil
			}}),
		depth:   40,
		mutants: []string{"Verify"},
	},
	// A live peer is removed, the removal is cancelled and declared again,
	// while its agent renews, acknowledges, serves, and its messages are late.
	"cancel": {
		start: func(cfg ownership.Config) *model.World {
			s := twoControllers(cfg, 2)
			s.declare("host2", "host1")
			for range 3 {
				s.Pass(s.c)
			}
			s.Sync(s.Host("host2")) // acknowledges
			s.Store.Undeclare("host2")
			return s.World
		},
		actions: append(append(model.Actions(1, false), model.Passes(0)),
			model.OnHost("host2", "syncs", func(w *model.World, h *model.Host) { w.Sync(h) }),
			model.OnHost("host2", "reads its lease", func(w *model.World, h *model.Host) { w.TakeRead(h) }),
			model.OnHost("host2", "takes its lease", func(w *model.World, h *model.Host) { w.TakeWrite(h) }),
			model.Action{Name: "the removal is deleted", Do: func(w *model.World) bool {
				w.Store.Undeclare("host2")
				return true
			}},
			model.Action{Name: "the removal is declared", Do: func(w *model.World) bool {
				d := ownership.Declaration{Heir: "host1"}
				d.Name = "host2"
				return w.Store.Declare(d) == nil
			}},
		),
		depth:   16,
		mutants: []string{"AckGeneration"},
	},
	// A peer whose agent is dead and whose pods are not goes, while a survivor
	// sees it late and the heir gives its address out as soon as it can.
	"barrier": {
		start: func(cfg ownership.Config) *model.World {
			s := twoControllers(cfg, 3)
			s.Allocate(s.Host("host3"))
			s.silence("host3")
			s.declare("host3", "host1")
			for s.phase("host3") != ownership.Transferring {
				s.RenewSend(s.Host("host2"))
				s.RenewLand(s.Host("host2"))
				s.Work(s.Host("host1"))
				s.Pass(s.c)
				s.Tick(10 * time.Second)
			}
			for range 8 {
				s.Allocate(s.Host("host1"))
			}
			return s.World
		},
		actions: append(append(model.Actions(1, false), model.Passes(0)),
			model.OnHost("host1", "works", func(w *model.World, h *model.Host) { w.Work(h) }),
			model.OnHost("host1", "allocates", func(w *model.World, h *model.Host) { w.Allocate(h) }),
			model.OnHost("host2", "sends a renewal", func(w *model.World, h *model.Host) { w.RenewSend(h) }),
			model.OnHost("host2", "'s renewal lands", func(w *model.World, h *model.Host) { w.RenewLand(h) }),
			model.OnHost("host2", "syncs", func(w *model.World, h *model.Host) { w.Sync(h) }),
			model.OnHost("host2", "reads its lease", func(w *model.World, h *model.Host) { w.TakeRead(h) }),
			model.OnHost("host2", "takes its lease", func(w *model.World, h *model.Host) { w.TakeWrite(h) }),
			model.Passing(70*time.Second, 6*time.Minute),
		),
		depth:   20,
		mutants: []string{"Barrier"},
	},
	// A Lease was absent as a peer's agent began to take it. By the time it
	// goes on, that peer has been removed, and its sealed Lease is deleted.
	"spent": {
		start: func(cfg ownership.Config) *model.World {
			s := twoControllers(cfg, 3)
			stall(s, "host3")
			vanish(s, "host3", "host1")
			return s.World
		},
		actions: append(append(model.Actions(1, true), model.Passes(0)),
			model.OnHost("host1", "works", func(w *model.World, h *model.Host) { w.Work(h) }),
			model.OnHost("host1", "allocates", func(w *model.World, h *model.Host) { w.Allocate(h) }),
			model.OnHost("host3", "takes its lease", func(w *model.World, h *model.Host) { w.TakeWrite(h) }),
			model.OnHost("host3", "reads its lease", func(w *model.World, h *model.Host) { w.TakeRead(h) }),
			model.OnHost("host3", "allocates", func(w *model.World, h *model.Host) { w.Allocate(h) }),
			model.Passing(70*time.Second, 12*time.Minute),
		),
		depth:  20,
		breaks: func(w *model.World) { w.TakesAbsent = true },
	},
}

// TestExplore looks at every order of two controllers' reads, decisions,
// writes and crashes, of late messages and of what people do, within bounds.
func TestExplore(t *testing.T) {
	for _, name := range sortedNames(universes) {
		u := universes[name]
		t.Run(name, func(t *testing.T) {
			found := model.Explore(u.start(ownership.Config{}), u.actions, u.depth, *states)
			t.Logf("%d states, %d steps, depth %d, complete: %t", found.States, found.Steps, found.Depth, found.Complete)
			if len(found.Violations) > 0 {
				t.Fatalf("%v\nafter %q", found.Violations, found.Trace)
			}
			for _, rule := range u.mutants {
				found := model.Explore(u.start(ownership.Config{}.Without(ownership.Rules[rule])), u.actions, u.depth, 6**states)
				if len(found.Violations) == 0 {
					t.Errorf("without rule %s nothing breaks in %d states, depth %d", rule, found.States, found.Depth)
				} else {
					t.Logf("without rule %s, after %d states: %v\n%q", rule, found.States, found.Violations[0], found.Trace)
				}
			}
			if u.breaks == nil {
				return
			}
			broken := u.start(ownership.Config{})
			u.breaks(broken)
			if found := model.Explore(broken, u.actions, u.depth, 6**states); len(found.Violations) == 0 {
				t.Errorf("the agents break a rule, and nothing breaks in %d states, depth %d", found.States, found.Depth)
			} else {
				t.Logf("the agents break a rule: after %d states: %v\n%q", found.States, found.Violations[0], found.Trace)
			}
		})
	}
}
