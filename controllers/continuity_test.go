// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"testing"

	"github.com/selvage-net/selvage/controllers/ownership"
)

func viewAt(revision string, ranges ...ownership.Range) *View {
	return &View{Snapshot: ownership.Snapshot{Ranges: ranges}, Revision: revision}
}

func inEpoch(uid string, epoch int64, owner string) ownership.Range {
	r := ownership.Range{Object: ownership.Object{Name: "r" + uid, UID: uid}, Epoch: epoch}
	if owner != "" {
		r.Owner = ownership.Ref{Name: owner, UID: "u" + owner}
	}
	return r
}

// What only goes forward is no regression; what goes back is one, by whichever
// of the two it shows.
func TestContinuity(t *testing.T) {
	claimed, granted, unowned := inEpoch("1", 0, ""), inEpoch("1", 1, "a"), inEpoch("1", 2, "")
	for name, c := range map[string]struct {
		seen      []*View
		now       *View
		regressed bool
	}{
		"nothing yet":                   {nil, viewAt("5", granted), false},
		"the same":                      {[]*View{viewAt("5", granted)}, viewAt("5", granted), false},
		"later":                         {[]*View{viewAt("5", granted)}, viewAt("6", unowned), false},
		"longer numbers":                {[]*View{viewAt("9", granted)}, viewAt("10", granted), false},
		"a cache that lags is noted":    {[]*View{viewAt("9", granted), viewAt("7", claimed)}, viewAt("9", granted), false},
		"a cache that does not say":     {[]*View{viewAt("9", granted), viewAt("", granted)}, viewAt("10", granted), false},
		"given back and deleted":        {[]*View{viewAt("5", unowned)}, viewAt("6"), false},
		"a claim that was swept":        {[]*View{viewAt("5", claimed)}, viewAt("6"), false},
		"revisions went back":           {[]*View{viewAt("5", granted)}, viewAt("4", granted), true},
		"revisions went back, to fewer": {[]*View{viewAt("10", granted)}, viewAt("9", granted), true},
		"ownership lost":                {[]*View{viewAt("5", granted)}, viewAt("6", claimed), true},
		"a transfer lost":               {[]*View{viewAt("5", inEpoch("1", 2, "b"))}, viewAt("6", granted), true},
		"a grant lost":                  {[]*View{viewAt("5", granted)}, viewAt("6"), true},
		"what was deleted is back":      {[]*View{viewAt("5", unowned), viewAt("6")}, viewAt("7", granted), true},
		"revisions that say nothing":    {[]*View{viewAt("x", granted)}, viewAt("a", granted), false},
	} {
		var seen continuity
		for _, v := range c.seen {
			seen.note(v)
		}
		if err := seen.check(c.now, true, 0); errors.Is(err, ErrRegressed) != c.regressed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What this process has written itself counts, also if no view has shown it.
func TestContinuity_OwnWrites(t *testing.T) {
	before, after := inEpoch("1", 0, ""), inEpoch("1", 1, "a")
	for _, failed := range []error{nil, errors.New("no answer")} {
		var seen continuity
		seen.note(viewAt("5", before))
		seen.wrote([]Outcome{{Write: ownership.UpdateRange{Before: before, After: after}, Err: failed}})
		if err := seen.check(viewAt("6", before), true, 0); errors.Is(err, ErrRegressed) != (failed == nil) {
			t.Errorf("a write that ended with %v, and is not shown: %v", failed, err)
		}
	}
}

// Where several controllers write, a range may go that another has taken away;
// revisions go only forward there, too.
func TestContinuity_ManyWriters(t *testing.T) {
	var seen continuity
	seen.note(viewAt("5", inEpoch("1", 1, "a")))
	if err := seen.check(viewAt("6"), false, 0); err != nil {
		t.Error(err)
	}
	if err := seen.check(viewAt("4"), false, 0); !errors.Is(err, ErrRegressed) {
		t.Errorf("revisions went back: %v", err)
	}
}

// A comparison is due at the start, and then now and then.
func TestContinuity_Due(t *testing.T) {
	var seen continuity
	if !seen.due(0) {
		t.Error("nothing was compared yet")
	}
	if err := seen.check(viewAt("5"), true, 0); err != nil || seen.due(resync/2) || !seen.due(2*resync) {
		t.Error("due at a wrong time", err)
	}
}

// What is remembered of ranges that are gone is bounded.
func TestContinuity_Bounded(t *testing.T) {
	var seen continuity
	for i := range 2 * maxForgotten {
		seen.note(viewAt("5", inEpoch(fmt.Sprint(i), 0, "")))
	}
	if err := seen.check(viewAt("6"), true, 0); err != nil || len(seen.ranges) != maxForgotten {
		t.Errorf("%d are remembered: %v", len(seen.ranges), err)
	}
}
