// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Report is an audit's result.
type Report struct {
	// Checked counts what was looked at.
	Checked    map[inventory.Part]int `json:"checked"`
	Invariants []Judged               `json:"invariants"`
	// NotChecked says why a part could not be read.
	NotChecked map[inventory.Part]string `json:"notChecked,omitempty"`
	OK         bool                      `json:"ok"`
}

// Judged is one invariant's verdict.
type Judged struct {
	Name      Invariant `json:"name"`
	Statement string    `json:"statement"`
	Verdict   Verdict   `json:"verdict"`
	Findings  []Finding `json:"findings,omitempty"`
	// Missing are the parts without which nothing could be said.
	Missing []inventory.Part `json:"missing,omitempty"`
}

// Verdict is what is known of an invariant.
type Verdict string

// The verdicts.
const (
	Holds      Verdict = "holds"
	BrokenRule Verdict = "broken"
	NotChecked Verdict = "not checked"
)

// essential parts are ownership itself: an audit that could not read them has
// not audited.
var essential = []inventory.Part{inventory.Pools, inventory.Peers, inventory.Ranges, inventory.Removals, inventory.Leases}

// Compile makes the report of an audit.
func Compile(s *inventory.State, findings []Finding) Report {
	r := Report{Checked: map[inventory.Part]int{}, NotChecked: map[inventory.Part]string{}, OK: !Broken(findings)}
	counts := map[inventory.Part]int{
		inventory.Pools: len(s.Pools), inventory.Peers: len(s.Peers), inventory.Ranges: len(s.Ranges),
		inventory.Removals: len(s.Removals), inventory.Leases: len(s.Leases), inventory.Pods: len(s.Pods),
	}
	for part, n := range counts {
		if s.Has(part) {
			r.Checked[part] = n
		}
	}
	for part, err := range s.Unread {
		r.NotChecked[part] = err.Error()
	}
	for _, inv := range Invariants {
		j := Judged{Name: inv.Name, Statement: inv.Statement, Verdict: Holds, Missing: Skipped(s, inv.Needs)}
		for _, f := range findings {
			if f.Invariant == inv.Name {
				j.Findings = append(j.Findings, f)
			}
		}
		switch {
		case Broken(j.Findings):
			j.Verdict = BrokenRule
		case len(j.Missing) > 0:
			j.Verdict = NotChecked
		}
		r.Invariants = append(r.Invariants, j)
	}
	return r
}

// Incomplete is the first error that kept a part of ownership itself from
// being audited.
func Incomplete(s *inventory.State) error { return s.Require(essential...) }
