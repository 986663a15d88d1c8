// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

var full = flag.Bool("full", false, "explore to the wider bounds")

// unbounded: every state that there is. No universe is as deep as that.
const unbounded = 1000

// universe is a scenario to be explored: every order of its actions.
type universe struct {
	start   func(ownership.Config) *model.World
	actions []model.Action
	// depth is the bound on how many steps are taken, and wider the same for
	// when time allows.
	depth, wider int
	// mutants are rules without which the exploration must find a violation.
	mutants []string
	// breaks, if any, breaks a rule of the agents': likewise.
	breaks func(*model.World)
}

// generations is the bound on how often a removal is declared and cancelled: a
// new one only while the Peer's generation is below it.
const generations = 4

// hush stops the kubelets' renewals, and lets all hosts be quiet: what is
// explored does not hang on them.
func hush(s *stage) {
	for _, h := range s.Hosts {
		h.Silent = true
	}
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
		depth: unbounded, wider: unbounded,
		mutants: []string{"Verify"},
	},
	// Two pools that overlap, and two controllers that accept what they may.
	"pools": {
		start: func(cfg ownership.Config) *model.World {
			w := model.NewWorld(time.Minute)
			w.Store.Lax = true
			for _, name := range []string{"one", "another"} {
				p := ownership.Pool{CIDR: netip.MustParsePrefix("10.0.0.0/28"), First: 30, Max: 30}
				p.Name = name
				w.Store.AddPool(p)
			}
			w.AddController(cfg)
			w.AddController(cfg)
			return w
		},
		actions: append(append(model.Actions(0, true), model.Actions(1, true)...),
			model.Action{Name: "pool one is deleted", Do: func(w *model.World) bool {
				w.Store.DeletePool("one")
				return true
			}}),
		depth: unbounded, wider: unbounded,
		mutants: []string{"PoolOverlap"},
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
				if p, _ := w.Store.Peer("host2"); p.Generation >= generations {
					return false
				}
				d := ownership.Declaration{Heir: "host1"}
				d.Name = "host2"
				return w.Store.Declare(d) == nil
			}},
		),
		depth: 10, wider: 20,
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
			for range 3 {
				s.Allocate(s.Host("host1"))
			}
			hush(s)
			return s.World
		},
		actions: append(append(model.Actions(1, false), model.Passes(0)),
			model.OnHost("host1", "works, and gives out an address", func(w *model.World, h *model.Host) {
				w.Work(h)
				if len(h.Pods()) < 6 { // fewer than make it lack any
					w.Allocate(h)
				}
			}),
			model.OnHost("host2", "sends a renewal", func(w *model.World, h *model.Host) { w.RenewSend(h) }),
			model.OnHost("host2", "'s renewal lands", func(w *model.World, h *model.Host) { w.RenewLand(h) }),
			model.OnHost("host2", "syncs", func(w *model.World, h *model.Host) { w.Sync(h) }),
			model.OnHost("host2", "reads its lease", func(w *model.World, h *model.Host) { w.TakeRead(h) }),
			model.OnHost("host2", "takes its lease", func(w *model.World, h *model.Host) { w.TakeWrite(h) }),
			model.Passing(70*time.Second),
		),
		depth: 7, wider: 11,
		mutants: []string{"Barrier"},
	},
	// A peer is removed while one controller is stale, and comes back: its agent
	// stops and starts at any time, a renewal and a taking of its are late, and
	// what declared the removal is deleted.
	"returns": {
		start: func(cfg ownership.Config) *model.World {
			s := twoControllers(cfg, 3)
			h := s.Host("host3")
			s.RenewSend(h)
			s.RenewLand(h)
			s.RenewSend(h) // stays on its way
			s.declare("host3", "host1")
			s.passes()
			hush(s)
			return s.World
		},
		actions: append(append(model.Actions(1, true), model.Passes(0)),
			model.OnHost("host1", "works, and gives out an address", func(w *model.World, h *model.Host) {
				w.Work(h)
				w.Work(w.Host("host2"))
				if len(h.Pods()) < 6 {
					w.Allocate(h)
				}
			}),
			model.OnHost("host3", "syncs", func(w *model.World, h *model.Host) { w.Sync(h) }),
			model.OnHost("host3", "reads its lease", func(w *model.World, h *model.Host) { w.TakeRead(h) }),
			model.OnHost("host3", "takes its lease", func(w *model.World, h *model.Host) { w.TakeWrite(h) }),
			model.OnHost("host3", "'s renewal lands", func(w *model.World, h *model.Host) { w.RenewLand(h) }),
			model.OnHost("host3", "allocates", func(w *model.World, h *model.Host) {
				if len(h.Pods()) == 0 {
					w.Allocate(h)
				}
			}),
			model.OnHost("host3", "'s agent stops", func(w *model.World, h *model.Host) { w.StopAgent(h) }),
			model.OnHost("host3", "'s agent starts", func(w *model.World, h *model.Host) { w.StartAgent(h) }),
			model.Action{Name: "the removal is deleted", Do: func(w *model.World) bool {
				w.Store.Undeclare("host3")
				return true
			}},
			model.Passing(70*time.Second),
		),
		depth: 6, wider: 9,
		mutants: []string{"Seal", "Watch"},
	},
	// A Lease was absent as a peer's agent began to take it. By the time it
	// goes on, that peer has been removed, and its sealed Lease is deleted.
	"spent": {
		start: func(cfg ownership.Config) *model.World {
			s := twoControllers(cfg, 3)
			stall(s, "host3")
			vanish(s, "host3", "host1")
			hush(s)
			return s.World
		},
		actions: append(append(model.Actions(1, true), model.Passes(0)),
			model.OnHost("host1", "works, and gives out an address", func(w *model.World, h *model.Host) {
				w.Work(h)
				if len(h.Pods()) < 6 { // fewer than make it lack any
					w.Allocate(h)
				}
			}),
			model.OnHost("host3", "takes its lease", func(w *model.World, h *model.Host) { w.TakeWrite(h) }),
			model.OnHost("host3", "reads its lease", func(w *model.World, h *model.Host) { w.TakeRead(h) }),
			model.OnHost("host3", "allocates", func(w *model.World, h *model.Host) { w.Allocate(h) }),
			model.Passing(70*time.Second),
		),
		depth: 7, wider: 10,
		breaks: func(w *model.World) { w.TakesAbsent = true },
	},
}

// TestExplore looks at every order of two controllers' reads, decisions,
// writes and crashes, of late messages and of what people do, within bounds on
// how many steps there are and how often a removal is declared.
func TestExplore(t *testing.T) {
	var table []string
	for _, name := range sortedNames(universes) {
		u := universes[name]
		t.Run(name, func(t *testing.T) {
			depth := u.depth
			if *full {
				depth = u.wider
			}
			found := model.Explore(u.start(ownership.Config{}), u.actions, depth)
			if len(found.Violations) > 0 {
				t.Fatalf("%v\nafter %q", found.Violations, found.Trace)
			}
			if depth == unbounded && !found.Closed {
				t.Errorf("there are states beyond step %d", depth)
			}
			table = append(table, fmt.Sprintf("%-8s %8d states, %8d steps, all within %3d, all there are: %t", name, found.States, found.Steps, found.Depth, found.Closed))
			for _, rule := range u.mutants {
				broken := u.start(ownership.Config{}.Without(ownership.Rules[rule]))
				table = append(table, breaks(t, "without "+rule, broken, u))
			}
			if u.breaks != nil {
				broken := u.start(ownership.Config{})
				u.breaks(broken)
				table = append(table, breaks(t, "agents break a rule", broken, u))
			}
		})
	}
	t.Logf("universes, and what is without a rule:\n%s", strings.Join(table, "\n"))
}

// breaks finds the shortest way to a violation in a universe that lacks a rule.
func breaks(t *testing.T, without string, broken *model.World, u universe) string {
	t.Helper()
	found := model.Explore(broken, u.actions, u.wider)
	if len(found.Violations) == 0 {
		t.Errorf("%s nothing breaks in %d states, depth %d", without, found.States, found.Depth)
		return ""
	}
	t.Logf("%s: %v\n%q", without, found.Violations[0], found.Trace)
	return fmt.Sprintf("  %-20s %6d states to break %s, in %d steps", without, found.States, found.Violations[0].Invariant, len(found.Trace))
}
