// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plot is what seldom comes about by chance alone, and what rules were made
// for: lines of a script, of a victim V, an heir H, a survivor S and one more, X.
//
// Before a line, up to gap passes; one that begins with +TIME waits for that
// long first. A time may be told in leases: 1.5L. What ends by itself and does
// not say when does so within the usual time.
type plot struct {
	gap   time.Duration
	lines []string
}

var plots = []plot{
	// A fire: nobody is told, and its pods run on.
	{20 * time.Second, []string{"pods V 6", "cut V both", "remove V heir=H", "delpods V", "pods H 9", "stall S"}},
	{20 * time.Second, []string{"pods V 4", "stall S", "cut V both", "delpods V", "remove V assert,heir=H", "pods H 9"}},
	{40 * time.Second, []string{"pods V 4", "freeze S", "off V", "remove V heir=H", "pods H 9", "delpods V"}},
	{40 * time.Second, []string{"pods V 4", "cut S requests", "kill V", "remove V", "pods H 9", "delpods V"}},
	{10 * time.Second, []string{"pods V 4", "+20s cut V both for 3L", "remove V heir=H", "pods H 9"}},
	{5 * time.Second, []string{"pods V 4", "+20s cut V both for 8m", "remove V", "pods H 9"}},
	// Its machine slept through it.
	{5 * time.Second, []string{"pods V 2", "freeze V for 3L", "remove V heir=H", "pods V 9"}},
	// Nobody hears a survivor, which hears everybody.
	{2 * time.Second, []string{"pods V 4", "pods H 9", "+20s cut V both for 8m", "cut S both for 1.5L", "delpods V", "remove V assert,heir=H", "pods H 16"}},
	{10 * time.Second, []string{"pods V 4", "+20s cut V both for 8m", "freeze S for 2L", "stall S for 6m", "remove V heir=H", "delpods V", "pods H 16"}},
	// A survivor is about to come back.
	{5 * time.Second, []string{"pods V 4", "off S for 3L", "remove S heir=host9", "+1.4L cancel S", "late S all for 2m", "+1.6L cut S both for 8m", "cut V both for 8m", "delpods V", "remove V assert,heir=H", "pods H 16"}},
	// Somebody does not know what he wants.
	{5 * time.Second, []string{"pods V 0", "remove V heir=H", "cancel V", "pods V 3", "remove V heir=S", "late V"}},
	{5 * time.Second, []string{"late V", "pods V 0", "remove V", "cancel V", "remove V heir=H", "pods V 4", "cancel V"}},
	{30 * time.Second, []string{"freeze V", "remove V heir=H", "cancel V", "remove V", "pods H 6"}},
	{time.Second, []string{"pods V 0", "+30s remove V heir=host9", "+1s late V all for 2m", "cancel V", "+500ms cut V both for 5m", "remove V heir=H"}},
	{500 * time.Millisecond, []string{"pods V 0", "+30s freeze H for 0.5L", "remove S assert,heir=V", "+200ms cut V both for 8m", "remove V assert", "+200ms cancel V", "+200ms remove V"}},
	// It comes back.
	{time.Minute, []string{"pods V 3", "off V", "remove V heir=H", "cancel V", "pods H 9", "remove H heir=S"}},
	{time.Minute, []string{"pods V 3", "delnode V", "pods H 9", "kill V", "delnode V"}},
	{30 * time.Second, []string{"pods V 3", "reimage V", "remove V heir=H", "cancel V", "pods V 5"}},
	{10 * time.Second, []string{"pods V 2", "strip V", "reimage V", "pods H 9"}},
	{10 * time.Second, []string{"pods V 4", "+20s cut V both for 3L", "remove V heir=H", "delpods V", "pods H 9", "+2.5L cancel V", "pods H 16"}},
	// An heir of an heir.
	{15 * time.Second, []string{"pods V 2", "remove V heir=H", "remove H heir=S", "pods V 0", "pods H 0", "cancel V"}},
	{5 * time.Second, []string{"pods V 3", "freeze S for 2m", "remove V assert,heir=H", "remove H heir=S"}},
	{time.Second, []string{"cut V both for 6m", "remove V assert,heir=H", "+3s remove H assert,heir=V"}},
	// There is not enough for all.
	{30 * time.Second, []string{"pods V 9", "pods V 0", "pods H 9", "pods S 9", "pods H 1", "pods V 9"}},
	{30 * time.Second, []string{"pods V 9", "stall V", "pods V 1", "pods H 9", "pods S 9", "kill V"}},
	// A machine that is said to be off is not.
	{20 * time.Second, []string{"pods V 4", "taint V", "remove V heir=H", "cut V replies", "delpods V", "pods H 9"}},
	{5 * time.Second, []string{"pods V 4", "taint V for 5m", "cut V both for 8m", "remove V heir=H", "pods H 9"}},
	{10 * time.Second, []string{"pods V 2", "late controller1", "freeze controller1", "remove V heir=H", "cancel V", "remove V"}},
	{10 * time.Second, []string{"strip V", "kill V", "remove V heir=H", "pods H 9", "delpods V"}},
}

// scarcity has all ask at once, while those who answer see little, or are slow.
// Only there do two claims overlap, or does a late delete find somebody else.
var scarcity = []plot{
	{time.Second, []string{"pods V 0", "pods S 0", "pods H 1", "remove V", "remove S", "+40s slow controller1 for 2m", "slow controller2 for 2m", "cancel V", "cancel S", "pods H 24", "+30s pods V 9", "pods S 9", "+90s pods V 16"}},
	{2 * time.Second, []string{"pods V 0", "pods H 1", "remove V", "+40s jumble controller1 for 3m", "jumble controller2 for 3m", "slow controller1 for 2m", "slow controller2 for 2m", "cancel V", "pods H 24", "+30s pods V 9", "pods S 16", "+90s pods V 16"}},
	{time.Second, []string{"pods V 16", "pods H 24", "pods S 24", "+50s off V for 5m", "delpods V", "late controller1 for 20s", "late controller2 for 20s", "remove V assert", "+4m cancel V"}},
}

// restorations are those with a restore from a backup in them.
var restorations = []plot{
	{2 * time.Second, []string{"pods V 1", "pods H 1", "+20s backup", "pods V 12", "+25s restore", "freeze V for 0.6L", "pods H 24", "pods S 24", "+2m pods V 1"}},
	{2 * time.Second, []string{"pods V 3", "+20s backup", "pods V 0", "+20s remove V heir=H", "+10s pods H 16", "+20s restore", "kill V for 10s", "pods V 9", "+1m pods V 16"}},
}

// allPlots are those for histories of any kind.
var allPlots = slices.Concat(plots, scarcity)

// plot draws one.
func (o Options) plot(r *rand.Rand) plot {
	if o.Scarce {
		return scarcity[r.IntN(len(scarcity))]
	}
	return allPlots[r.IntN(len(allPlots))]
}

// add adds the lines of a plot from that time on, with everybody's part drawn.
// It returns when the last one happens.
func (s *Story) add(r *rand.Rand, p plot, at time.Duration) time.Duration {
	parts := r.Perm(s.Hosts)
	name := func(i int) string { return "host" + strconv.Itoa(parts[i%s.Hosts]+1) }
	cast := strings.NewReplacer("V", name(0), "H", name(1), "S", name(2), "X", name(3))
	for _, line := range p.lines {
		words := strings.Fields(line)
		if wait, ok := strings.CutPrefix(words[0], "+"); ok {
			at += s.length(wait)
			words = words[1:]
		}
		at += time.Duration(r.Int64N(int64(p.gap)))
		lasts := time.Duration(0)
		if n := len(words); n > 2 && words[n-2] == "for" {
			lasts, words = s.length(words[n-1]), words[:n-2]
		}
		for i := range words[1:] {
			words[1+i] = cast.Replace(words[1+i])
		}
		o, err := parseOp(append([]string{at.Round(time.Millisecond).String()}, words...))
		if err != nil {
			panic(err) // a line of the table above
		}
		if most := verbs[o.Verb].lasts; most > 0 && lasts == 0 {
			lasts = most/4 + time.Duration(r.Int64N(int64(most)))
		}
		o.For = lasts.Round(time.Millisecond)
		s.Ops = append(s.Ops, o)
	}
	return at
}

// length reads a time of a plot's.
func (s *Story) length(text string) time.Duration {
	if n, ok := strings.CutSuffix(text, "L"); ok {
		leases, err := strconv.ParseFloat(n, 64)
		if err != nil {
			panic(err) // a line of the table above
		}
		return time.Duration(leases * float64(s.Lease))
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}
