// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-net/selvage/test/sim"
)

var (
	first = flag.Uint64("first", 1, "the first seed")
	seeds = flag.Uint64("seeds", 200, "how many histories are tried")
	trace = flag.Bool("tell", false, "print what happens in a broken one")
)

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(800) // little lives, and much is made
	os.Exit(m.Run())
}

// TestStories lets histories happen, as many as are asked for.
func TestStories(t *testing.T) {
	began := time.Now()
	var steps, length atomic.Int64
	var mu sync.Mutex
	counts := map[string]int{}
	var next atomic.Uint64
	next.Store(*first)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				seed := next.Add(1) - 1
				if seed >= *first+*seeds {
					return
				}
				story := sim.Invent(seed, sim.Options{})
				r := story.Play(false)
				steps.Add(int64(r.Steps))
				length.Add(int64(r.Time))
				mu.Lock()
				for name, n := range r.Counts {
					counts[name] += n
				}
				mu.Unlock()
				if len(r.Violations) > 0 {
					tell(t, story)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("%d steps, %.0f simulated hours, in %s (%.0f steps a second); checks: %v",
		steps.Load(), time.Duration(length.Load()).Hours(), took.Round(time.Second), float64(steps.Load())/took.Seconds(), counts)
}

func tell(t *testing.T, story sim.Story) {
	t.Helper()
	short := story.Shrink()
	r := short.Play(*trace)
	t.Errorf("seed %d: %v\nas a script:\n%s\n%s", story.Seed, r.Violations, short, strings.Join(r.Log, "\n"))
}
