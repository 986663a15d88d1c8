// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"testing"

	"github.com/selvage-net/selvage/test/sim"
)

// killedWithin is how many histories each mutation may survive at most. Two
// are not here, since they survive 300: TrustCaches, which takes a lost event
// about a claim that overlaps, and LeaveUp, which takes a node that joins anew
// over its old pods while another has got their very addresses.
var killedWithin = map[sim.Mutation]uint64{
	sim.Blind: 30, sim.DeleteByName: 100, sim.TrustWatches: 500, sim.SlowClock: 30,
	sim.SleepyClock: 100, sim.HearAll: 150, sim.ForgetFences: 60,
}

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
				story := sim.Invent(seed, sim.Options{Mutation: mutation, Scarce: mutation == sim.DeleteByName})
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
