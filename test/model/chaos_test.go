// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

var (
	runs  = flag.Int("runs", 300, "how many random histories to try")
	steps = flag.Int("steps", 400, "how long each is")
	seed  = flag.Uint64("seed", 0, "the one history to replay")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

type seeded struct{ *rand.Rand }

func (s seeded) Intn(n int) int { return s.IntN(n) }

// TestChaos lets controllers, agents, machines and people do what they do in
// random order, one step at a time, and checks every invariant after each; in
// the end everything must come to rest.
func TestChaos(t *testing.T) {
	first, last := uint64(1), uint64(*runs)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	checks := map[string]int{}
	writes, refused, taken := 0, 0, 0
	for n := first; n <= last; n++ {
		c := model.NewChaos(seeded{rand.New(rand.NewPCG(n, 0))}, 2+int(n%3), ownership.Config{MaxRemovals: 1})
		for range *steps {
			c.Step()
			taken++
			if len(c.World.Violations) > 0 {
				t.Fatalf("seed %d: %v\n%s", n, c.World.Violations, c.Story())
			}
		}
		left := c.Settle()
		if len(c.World.Violations) > 0 {
			t.Fatalf("seed %d, settling: %v\n%s", n, c.World.Violations, c.Story())
		}
		if len(left) > 0 {
			t.Fatalf("seed %d: Progress: %v\n%s\n%v\n%v", n, left, c.Story(), c.World.Peers(), c.World.Waits())
		}
		for name, count := range c.World.Checks {
			checks[name] += count
		}
		writes += c.Writes
		refused += c.Refused
	}
	t.Logf("%d histories, %d steps, %d writes, %d refused; checks: %v", last-first+1, taken, writes, refused, checks)
}

type drawn struct{ *rapid.T }

func (d drawn) Intn(n int) int { return rapid.IntRange(0, n-1).Draw(d.T, "n") }

// TestChaosShrinks does the same under rapid, which shortens what it finds.
func TestChaosShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := model.NewChaos(drawn{t}, 3, ownership.Config{MaxRemovals: 1})
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			c.Step()
			if len(c.World.Violations) > 0 {
				t.Fatalf("%v\n%s", c.World.Violations, c.Story())
			}
		}
		if left := c.Settle(); len(left) > 0 || len(c.World.Violations) > 0 {
			t.Fatalf("%v %v\n%s", left, c.World.Violations, c.Story())
		}
	})
}
