// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"testing"

	"github.com/selvage-net/selvage/test/sim"
)

// killedWithin is how many histories each mutation may survive at most.
var killedWithin = map[sim.Mutation]uint64{
	sim.Blind: 100, sim.DeleteByName: 800, sim.TrustCaches: 600, sim.TrustWatches: 400, sim.SlowClock: 300,
	sim.SleepyClock: 300, sim.LeaveUp: 300, sim.HearAll: 100, sim.ForgetFences: 400,
}

// TestMutationsAreKilled breaks a rule at a time: some invariant must break.
func TestMutationsAreKilled(t *testing.T) {
	if !*broken {
		t.Skip("NOT RUN: it takes minutes. make mutants runs it")
	}
	for mutation, most := range killedWithin {
		t.Run(string(mutation), func(t *testing.T) {
			for seed := uint64(1); seed <= most; seed++ {
				story := sim.Invent(seed, sim.Options{Mutation: mutation})
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
