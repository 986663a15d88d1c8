// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

func splitArgs(s string) []string { return strings.Split(s, ",") }

func cutPrefix(s, prefix string) (string, bool) { return strings.CutPrefix(s, prefix) }

// Story is all that makes a history what it is: the same one happens each time.
type Story struct {
	Seed uint64
	Options
	// Ops are what happens from outside, until Calm.
	Ops  []Op
	Calm time.Duration
}

// calmAtFirst is how long it takes until pods begin to run.
const calmAtFirst = 20 * time.Second

// Invent draws a story from a seed.
func Invent(seed uint64, base Options) Story {
	r := rand.New(rand.NewPCG(seed, 0x5e17a6e))
	s := Story{Seed: seed, Options: base}
	s.Hosts, s.Controllers = 2+r.IntN(4), 2
	s.Lease = []time.Duration{9 * time.Second, 30 * time.Second, time.Minute}[r.IntN(3)]
	s.Elect = r.IntN(3) == 0
	s.Pool = []string{"10.0.0.0/25", "10.0.0.0/26", "10.0.0.0/26", "10.0.0.0/27"}[r.IntN(4)]
	s.Config.LeaseDuration, s.Config.ClaimTimeout, s.Config.GracePeriod = s.Lease, time.Minute, 2*time.Minute
	s.Config.MaxRemovals = 1
	if r.IntN(3) == 0 {
		s.Config.MaxRemovals = 0.2
	}
	// Some are quiet enough for long plans to come to their end, and in some
	// there is little but plots.
	gap := []time.Duration{4 * time.Second, 12 * time.Second, 40 * time.Second}[r.IntN(3)]
	sum := 0
	for _, name := range verbNames {
		sum += verbs[name].weight
	}
	at := calmAtFirst
	for i := range s.Hosts {
		s.Ops = append(s.Ops, Op{At: at, Verb: "pods", Who: "host" + strconv.Itoa(i+1), Arg: strconv.Itoa(r.IntN(5))})
	}
	s.Calm = at
	if r.IntN(2) == 0 || s.Scarce {
		at = s.scheme(r, at, sum)
	} else {
		for n := 5 + r.IntN(15); n > 0; n-- {
			at += time.Duration(r.Int64N(int64(2 * gap)))
			s.Ops = append(s.Ops, s.draw(r, at, sum))
			if r.IntN(8) == 0 {
				s.Calm = max(s.Calm, s.add(r, s.plot(r), at))
			}
		}
	}
	s.Calm = max(s.Calm, at) + time.Duration(1+r.IntN(3))*time.Minute
	slices.SortStableFunc(s.Ops, func(a, b Op) int { return cmp.Compare(a.At, b.At) })
	return s
}

// scheme has a few plots happen, one after the other, and little besides.
func (s *Story) scheme(r *rand.Rand, at time.Duration, sum int) time.Duration {
	for range 3 {
		at = s.add(r, s.plot(r), at+time.Duration(r.Int64N(int64(30*time.Second))))
		at += time.Duration(r.Int64N(int64(3 * time.Minute)))
		if r.IntN(2) == 0 {
			s.Ops = append(s.Ops, s.draw(r, at, sum))
		}
	}
	return at
}

// Restored is a story in which etcd is restored from a backup, some time after
// that was made.
func (s Story) Restored() Story {
	r := rand.New(rand.NewPCG(s.Seed, 0xbacc))
	s.Elect = true // without a leader there is no term, and nobody notices
	made := time.Duration(r.Int64N(int64(s.Calm)))
	s.Ops = slices.Clone(s.Ops)
	if r.IntN(2) == 0 {
		// Nothing else happens, but that first pods begin to run.
		s.Ops = slices.DeleteFunc(s.Ops, func(o Op) bool { return o.At > calmAtFirst })
		s.add(r, restorations[r.IntN(len(restorations))], 2*calmAtFirst)
	} else {
		s.Ops = append(s.Ops, Op{At: made, Verb: "backup"},
			Op{At: made + time.Duration(r.Int64N(int64(10*time.Minute))), Verb: "restore", Arg: verbs["restore"].args[r.IntN(2)]})
	}
	slices.SortStableFunc(s.Ops, func(a, b Op) int { return cmp.Compare(a.At, b.At) })
	s.Calm = max(s.Calm, s.Ops[len(s.Ops)-1].At+time.Minute)
	return s
}

// draw draws one.
func (s *Story) draw(r *rand.Rand, at time.Duration, sum int) Op {
	n := r.IntN(sum)
	i := slices.IndexFunc(verbNames, func(name string) bool {
		n -= verbs[name].weight
		return n < 0
	})
	v := verbs[verbNames[i]]
	o := Op{At: at.Round(time.Millisecond), Verb: verbNames[i]}
	if v.lasts > 0 {
		o.For = (time.Second + time.Duration(r.Int64N(int64(v.lasts)))).Round(time.Millisecond)
	}
	switch {
	case v.controllers && (!v.hosts || r.IntN(3) == 0):
		o.Who = "controller" + strconv.Itoa(1+r.IntN(s.Controllers))
	case v.hosts:
		o.Who = "host" + strconv.Itoa(1+r.IntN(s.Hosts))
	}
	if len(v.args) > 0 {
		o.Arg = v.args[r.IntN(len(v.args))]
	}
	return o
}

// Result is what became of a story.
type Result struct {
	Violations []ownership.Violation
	Steps      int
	// Time is how long it was, on its own clock.
	Time time.Duration
	// Counts says how often the invariants were checked.
	Counts map[string]int
	Log    []string
}

// Broken is the name of the invariant that was broken first; empty: none.
func (r Result) Broken() string {
	if len(r.Violations) == 0 {
		return ""
	}
	return r.Violations[0].Invariant
}

// Play lets it happen.
func (s Story) Play(verbose bool) Result {
	s.Options.Verbose = verbose
	w := New(s.Seed, s.Options)
	defer w.Stop()
	for _, o := range s.Ops {
		w.Apply(o)
	}
	w.Run(s.Calm)
	if len(w.Violations) == 0 {
		w.settle()
	}
	return Result{Violations: w.Violations, Steps: w.Steps, Time: w.Now, Counts: w.checks.counts, Log: w.log}
}

// Shrink leaves out what is not needed to break the same invariant.
func (s Story) Shrink() Story {
	broken := s.Play(false).Broken()
	for size := (len(s.Ops) + 1) / 2; size > 0 && len(s.Ops) > 0; {
		smaller := false
		for from := 0; from < len(s.Ops); {
			less := s
			less.Ops = slices.Delete(slices.Clone(s.Ops), from, min(from+size, len(s.Ops)))
			if less.Play(false).Broken() == broken {
				s, smaller = less, true
				continue
			}
			from += size
		}
		if !smaller || size > len(s.Ops) {
			size /= 2
		}
	}
	return s
}

// String is the story as a script, which Parse reads.
func (s Story) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\npool %s\nhosts %d\nlease %s\nelect %t\nmax-removals %g\n", s.Seed, s.Pool, s.Hosts, s.Lease, s.Elect, s.Config.MaxRemovals)
	for _, o := range s.Ops {
		fmt.Fprintln(&b, o)
	}
	fmt.Fprintf(&b, "calm %s\n", s.Calm)
	return b.String()
}

// Parse reads a script. Its options rest on the base.
func Parse(text string, base Options) (Story, error) {
	s := Story{Options: base}
	s.Controllers = 2
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := s.read(words); err != nil {
			return Story{}, fmt.Errorf("line %d, %q: %w", n+1, line, err)
		}
	}
	s.Config.LeaseDuration, s.Config.ClaimTimeout, s.Config.GracePeriod = s.Lease, time.Minute, 2*time.Minute
	return s, nil
}

func (s *Story) read(words []string) (err error) {
	if len(words) < 2 {
		return fmt.Errorf("a word is missing")
	}
	switch words[0] {
	case "seed":
		s.Seed, err = strconv.ParseUint(words[1], 10, 64)
	case "pool":
		s.Pool = words[1]
	case "hosts":
		s.Hosts, err = strconv.Atoi(words[1])
	case "lease":
		s.Lease, err = time.ParseDuration(words[1])
	case "elect":
		s.Elect, err = strconv.ParseBool(words[1])
	case "max-removals":
		s.Config.MaxRemovals, err = strconv.ParseFloat(words[1], 64)
	case "calm":
		s.Calm, err = time.ParseDuration(words[1])
	default:
		var o Op
		if o, err = parseOp(words); err == nil {
			s.Ops = append(s.Ops, o)
		}
	}
	return err
}

// parseOp reads "AT VERB [WHO] [ARG] [for LENGTH]".
func parseOp(words []string) (o Op, err error) {
	if o.At, err = time.ParseDuration(words[0]); err != nil {
		return o, err
	}
	o.Verb = words[1]
	v, known := verbs[o.Verb]
	if !known {
		return o, fmt.Errorf("%q is not known: it is one of %s", o.Verb, strings.Join(verbNames, ", "))
	}
	rest := words[2:]
	if len(rest) >= 2 && rest[len(rest)-2] == "for" {
		if o.For, err = time.ParseDuration(rest[len(rest)-1]); err != nil {
			return o, err
		}
		rest = rest[:len(rest)-2]
	}
	if v.hosts || v.controllers {
		if len(rest) == 0 {
			return o, fmt.Errorf("%s whom?", o.Verb)
		}
		o.Who, rest = rest[0], rest[1:]
	}
	o.Arg = strings.Join(rest, ",")
	return o, nil
}
