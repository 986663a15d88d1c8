// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"testing"

	"github.com/selvage-net/selvage/test/sim"
)

// killedWithin is how many histories each mutation may survive at most.
var killedWithin = map[sim.Mutation]uint64{
	sim.Blind: 30, sim.DeleteByName: 100, sim.TrustWatches: 500, sim.SlowClock: 30,
	sim.SleepyClock: 100, sim.HearAll: 30, sim.ForgetFences: 30, sim.LeaveUp: 30, sim.TrustCaches: 500,
}

// scarce are those that take claims that overlap, or a late delete that finds
// somebody else: there has to be too little for all.
var scarce = map[sim.Mutation]bool{sim.DeleteByName: true, sim.TrustCaches: true}

// quickly is how many histories each run of the tests spends on a mutation.
const quickly = 30

// TestMutationsAreKilled breaks a rule at a time: some invariant must break.
// Each run tries those that die quickly, -broken all.
func TestMutationsAreKilled(t *testing.T) {
	for mutation, most := range killedWithin {
		if !*broken && most > quickly {
			continue // make mutants: it takes minutes
		}
		t.Run(string(mutation), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= most; seed++ {
				story := sim.Invent(seed, sim.Options{Mutation: mutation, Scarce: scarce[mutation]})
				if mutation == sim.ForgetFences {
					story = story.Restored() // what the API says is enough otherwise
				}
				if r := story.Play(false); r.Broken() != "" {
					t.Logf("after %d histories: %v", seed, r.Violations[0])
					return
				}
			}
			t.Errorf("nothing breaks in %d histories", most)
		})
	}
}
