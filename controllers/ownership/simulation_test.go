// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"flag"
	"runtime"
	"sync"
	"testing"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/sim"
)

var mutantSeeds = flag.Uint64("mutant-seeds", 20, "how many simulated histories a broken rule may survive")

// needed are the rules that simulation breaks something without. Each has a
// killer of its own besides: see TestEveryRuleIsKilled.
var needed = []string{"Epoch", "LeaseSpent", "Orphans"}

// TestSimulationKills takes one rule out at a time and lets the real loops go
// on: some invariant must break.
func TestSimulationKills(t *testing.T) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, name := range needed {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			base := sim.Options{Config: ownership.Config{}.Without(ownership.Rules[name])}
			for seed := uint64(1); seed <= *mutantSeeds; seed++ {
				if r := sim.Invent(seed, base).Play(false); r.Broken() != "" {
					t.Logf("without %s: after %d seeds: %v", name, seed, r.Violations[0])
					return
				}
			}
			t.Errorf("without %s nothing breaks in %d histories", name, *mutantSeeds)
		})
	}
	wg.Wait()
}
