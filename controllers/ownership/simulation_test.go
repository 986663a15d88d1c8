// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"flag"
	"maps"
	"slices"
	"testing"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/sim"
)

var mutantSeeds = flag.Uint64("mutant-seeds", 30, "try the rules without which something breaks within so many simulated histories")

// killedWithin is how many histories a rule may be missing at most until an
// invariant breaks. Each rule has a killer of its own besides: see
// TestEveryRuleIsKilled.
var killedWithin = map[string]uint64{
	"AckGeneration":  30,
	"Barrier":        30,
	"BarrierSealed":  100,
	"BarrierWatch":   150,
	"Epoch":          30,
	"GiveBackSealed": 60,
	"HeirFixed":      150,
	"HeirReady":      300,
	"LeaseSpent":     30,
	"OrphanUID":      200,
	"Orphans":        30,
	"OutOfService":   400,
	"ReservedStay":   30,
	"SealGeneration": 300,
	"Term":           60,
	"Verify":         300,
	"Watch":          60,
	"WatchSealed":    300,
}

// survivors are the rules without which simulation breaks nothing, and why.
var survivors = map[string]string{
	"BarrierAbsent": "nobody takes a Lease that is absent: its agent makes it sealed, reads that, and lists what is removed only then",
	"Breaker":       "it guards nodes that run from a mistake about many, and no address",
	"Forgotten":     "what is restored here has all agents answer: test/sim/testdata/forgotten-and-sealed.txt is where one does not",
	"Kubelet":       "it guards pods that run from being replaced, and no address: the barrier has them cut off",
	"NodeLease":     "a removal that begins too early waits for the same lease as evidence",
	"OrphanHolder":  "it takes two machines of one name, and there is one of each here",
	"PoolOverlap":   "there is one pool here",
	"RemovedEmpty":  "what is left over is an orphan, and goes the same way",
	"Reserve":       "it is a second line of defence, for what no agent sees: the barrier has the old holder cut off",
	"Seal":          "the barrier waits for the removed peer's own Lease as well",
	"VerifyPods":    "it is a second line of defence",
}

// TestSimulationKills takes one rule out at a time and lets the real loops go
// on: some invariant must break.
func TestSimulationKills(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(ownership.Rules)) {
		most, kills := killedWithin[name]
		if _, survives := survivors[name]; survives == kills {
			t.Errorf("%s is to be in one list", name)
		}
		if !kills || most > *mutantSeeds {
			continue // make mutants
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= most; seed++ {
				if r := story(name, seed).Play(false); r.Broken() != "" {
					t.Logf("without %s, after %d histories: %v", name, seed, r.Violations[0])
					return
				}
			}
			t.Errorf("without %s nothing breaks in %d histories", name, most)
		})
	}
}

// story is one without a rule, of the kind in which that matters.
func story(rule string, seed uint64) sim.Story {
	s := sim.Invent(seed, sim.Options{Config: ownership.Config{}.Without(ownership.Rules[rule]), Scarce: rule == "Verify"})
	if rule == "Term" {
		return s.Restored()
	}
	return s
}
