// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/sim"
	"github.com/selvage-net/selvage/test/sim/apiserver/rules"
)

var (
	first  = flag.Uint64("first", 1, "the first seed")
	seeds  = flag.Uint64("seeds", 200, "how many histories are tried")
	broken = flag.Bool("broken", false, "break the rules, one after the other, to see that it is noticed")
	full   = flag.Bool("tell", false, "print what happens in a broken one")
)

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(800) // little lives, and much is made
	goleak.VerifyTestMain(m)
}

// TestStories lets histories happen, as many as are asked for.
func TestStories(t *testing.T) {
	tryAll(t, func(s sim.Story) sim.Story { return s },
		ownership.Disjoint, sim.OneHolder, ownership.Fenced, ownership.OneHeir, ownership.NoLoss, ownership.Monotone, sim.Progress)
}

// TestRestored does so with etcd restored from a backup in each. What is safe
// has to stay so; what the API has forgotten a person has to bring back, so
// that nothing has to come to rest.
func TestRestored(t *testing.T) {
	tryAll(t, sim.Story.Restored, ownership.Disjoint, sim.OneHolder, ownership.Fenced, ownership.OneHeir, ownership.Monotone)
}

// TestAdmitted does so with the rules of the definitions in force, which take a
// hundred times as long as all else.
func TestAdmitted(t *testing.T) {
	admit, err := rules.Load("../../config/crd/bases")
	if err != nil {
		t.Fatal(err)
	}
	tryAll(t, func(s sim.Story) sim.Story {
		s.Admit = admit
		return s
	}, ownership.Disjoint, sim.OneHolder, sim.Progress, sim.Admitted)
}

func tryAll(t *testing.T, change func(sim.Story) sim.Story, checked ...string) {
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
				story := change(sim.Invent(seed, sim.Options{}))
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
	t.Logf("%d histories, %d steps, %.0f simulated hours, in %s (%.0f steps a second); checks: %v", *seeds,
		steps.Load(), time.Duration(length.Load()).Hours(), took.Round(time.Second), float64(steps.Load())/took.Seconds(), counts)
	for _, name := range checked {
		if counts[name] == 0 {
			t.Errorf("%s was never checked", name)
		}
	}
}

func tell(t *testing.T, story sim.Story) {
	t.Helper()
	short := story.Shrink()
	r := short.Play(*full)
	t.Errorf("seed %d: %v\nas a script, for testdata:\n%s\n%s", story.Seed, r.Violations, short, strings.Join(r.Log, "\n"))
}

// TestSameAgain: a story happens the same each time, or a failure could not be
// looked at.
func TestSameAgain(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		story := sim.Invent(seed, sim.Options{})
		once, again := story.Play(true), story.Play(true)
		if once.Steps != again.Steps || !slices.Equal(once.Log, again.Log) {
			t.Errorf("seed %d: %d steps, then %d", seed, once.Steps, again.Steps)
		}
		parsed, err := sim.Parse(story.String(), sim.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if read := parsed.Play(true); !slices.Equal(once.Log, read.Log) {
			t.Errorf("seed %d: read from its script, it is another: %d steps, then %d", seed, once.Steps, read.Steps)
		}
	}
}

// TestScripts plays what was found once. Each has broken something.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			story, err := sim.Parse(string(text), sim.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r := story.Play(*full); len(r.Violations) > 0 {
				t.Errorf("%v\n%s", r.Violations, strings.Join(r.Log, "\n"))
			}
		})
	}
}
