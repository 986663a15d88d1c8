// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// Subject is in the name of every spec about the network.
const Subject = "[sig-network]"

// Spec is one upstream test.
type Spec struct {
	Name  string
	State types.SpecState
	// Said is why it failed, or why it skipped itself.
	Said string
	Took time.Duration
}

// Read returns the specs about the network of a report by Ginkgo, in JSON.
func Read(report []byte) ([]Spec, error) {
	var suites []types.Report
	if err := json.Unmarshal(report, &suites); err != nil {
		return nil, fmt.Errorf("reading Ginkgo's report: %w", err)
	}
	var specs []Spec
	for _, suite := range suites {
		for _, r := range suite.SpecReports {
			if r.LeafNodeType != types.NodeTypeIt {
				if r.Failed() {
					return nil, fmt.Errorf("the suite's %s failed: %s", r.LeafNodeType, r.FailureMessage())
				}
				continue
			}
			if !strings.Contains(r.FullText(), Subject) {
				continue
			}
			specs = append(specs, Spec{Name: r.FullText(), State: r.State, Said: r.FailureMessage(), Took: r.RunTime})
		}
	}
	if len(specs) == 0 {
		return nil, errors.New("the report of Ginkgo has no spec about the network: does --focus name any?")
	}
	slices.SortFunc(specs, func(a, b Spec) int { return cmp.Compare(a.Name, b.Name) })
	return specs, nil
}

// Verdict is what a run comes to.
type Verdict struct {
	Passed, Failed []Spec
	// LeftOut are the specs left out, in the order of the list's groups.
	LeftOut [][]Spec
	// Unaccounted neither ran nor are on the list.
	Unaccounted []Spec
	// Stale are parts of names on the list that no spec has.
	Stale []string
	list  LeftOut
}

// Judge sorts the specs. Those that were not chosen, where only a part was to
// run, are not looked at.
func Judge(specs []Spec, list LeftOut, chosen func(name string) bool) Verdict {
	v := Verdict{LeftOut: make([][]Spec, len(list)), list: list}
	used := map[string]bool{}
	for _, s := range specs {
		group, part := list.find(s.Name)
		used[part] = true
		switch {
		case s.State.Is(types.SpecStateFailureStates):
			v.Failed = append(v.Failed, s)
		case s.State == types.SpecStatePassed:
			v.Passed = append(v.Passed, s)
		case group >= 0:
			v.LeftOut[group] = append(v.LeftOut[group], s)
		case chosen(s.Name):
			v.Unaccounted = append(v.Unaccounted, s)
		}
	}
	for _, group := range list {
		for _, part := range group.Specs {
			// A part that is wholly inside an earlier one never matters either.
			if !used[part] {
				v.Stale = append(v.Stale, part)
			}
		}
	}
	return v
}

// Err is nil if all that was to run has passed and the list is exact.
func (v Verdict) Err() error {
	var errs []error
	for _, s := range v.Failed {
		errs = append(errs, fmt.Errorf("failed: %s", s.Name))
	}
	for _, s := range v.Unaccounted {
		errs = append(errs, fmt.Errorf("neither ran nor is on the list: %s (%s: %s)", s.Name, s.State, firstLine(s.Said)))
	}
	for _, part := range v.Stale {
		errs = append(errs, fmt.Errorf("on the list, but no spec that it leaves out is named so: %q", part))
	}
	if len(v.Passed) == 0 {
		errs = append(errs, errors.New("nothing has passed"))
	}
	return errors.Join(errs...)
}

// Print writes what ran and what did not, and why.
func (v Verdict) Print(out io.Writer) {
	fmt.Fprintf(out, "\nPassed (%d):\n", len(v.Passed))
	for _, s := range v.Passed {
		fmt.Fprintf(out, "  %s (%s)\n", s.Name, s.Took.Round(time.Second))
	}
	left := 0
	for i, specs := range v.LeftOut {
		left += len(specs)
		fmt.Fprintf(out, "\nLeft out (%d): %s\n", len(specs), strings.TrimSpace(v.list[i].Why))
		for _, s := range specs {
			fmt.Fprintf(out, "  %s\n", s.Name)
		}
	}
	if len(v.Failed) > 0 {
		fmt.Fprintf(out, "\nFailed (%d):\n", len(v.Failed))
		for _, s := range v.Failed {
			fmt.Fprintf(out, "  %s (%s)\n    %s\n", s.Name, s.Took.Round(time.Second), firstLine(s.Said))
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d left out with a reason, %d unaccounted for\n", len(v.Passed), len(v.Failed), left, len(v.Unaccounted))
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return first
}
