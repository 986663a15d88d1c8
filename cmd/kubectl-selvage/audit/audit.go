// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit judges a whole cluster's ownership: pure functions from what
// was read to findings. What it finds broken is broken now: nothing in it
// depends on time or on one list being newer than another, except as said.
package audit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Invariant names a rule that always holds; DESIGN.md says why.
type Invariant string

// The invariants that can be seen from outside.
const (
	Disjoint  Invariant = "Disjoint"
	OneHolder Invariant = "OneHolder"
	Fenced    Invariant = "Fenced"
	OneHeir   Invariant = "OneHeir"
	NoLoss    Invariant = "NoLoss"
	Monotone  Invariant = "Monotone"
	// WellFormed: objects say what they must, past the API server's own rules.
	WellFormed Invariant = "WellFormed"
)

// Invariants are all of them, in the order they are shown, with what each says.
var Invariants = []struct {
	Name      Invariant
	Statement string
	// Needs are the parts without which it cannot be judged.
	Needs []inventory.Part
}{
	{Disjoint, "no two ranges overlap, and all lie in accepted pools that do not overlap", []inventory.Part{inventory.Pools, inventory.Ranges}},
	{OneHolder, "an address is held by one pod, of the peer that owns it", []inventory.Part{inventory.Peers, inventory.Ranges, inventory.Leases, inventory.Pods}},
	{Fenced, "who is being removed holds no lease, and no two peers share an underlay address", []inventory.Part{inventory.Peers, inventory.Leases}},
	{OneHeir, "all ranges of a removed peer went the way its removal says", []inventory.Part{inventory.Peers, inventory.Ranges}},
	{NoLoss, "every owned range has an owner that exists", []inventory.Part{inventory.Peers, inventory.Ranges}},
	{Monotone, "no agent acts on a later epoch than the record's", []inventory.Part{inventory.Ranges}},
	{WellFormed, "names, CIDRs and reservations say what they must", []inventory.Part{inventory.Pools, inventory.Peers, inventory.Ranges}},
}

// Finding is one thing that is not as it must be.
type Finding struct {
	Invariant Invariant `json:"invariant"`
	// Object is what it is about, as kubectl names it.
	Object  string `json:"object"`
	Message string `json:"message"`
	// Passing findings are such as a change under way shows for a moment, or
	// as right themselves: they are told, and break nothing.
	Passing bool `json:"passing,omitempty"`
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Invariant, f.Object, f.Message) }

// Audit judges a state. Parts that could not be read are left out: Skipped says
// which invariants that leaves unjudged.
func Audit(s *inventory.State) []Finding {
	var found []Finding
	rules := []func(*inventory.State) []Finding{
		coreRules, unownedRules, poolRules, ownerRules, leaseRules, underlayRules, podRules,
	}
	for _, rule := range rules {
		found = append(found, rule(s)...)
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Invariant), rank(b.Invariant)), cmp.Compare(a.Object, b.Object))
	})
	return slices.Compact(found)
}

func rank(name Invariant) int {
	for i, known := range Invariants {
		if known.Name == name {
			return i
		}
	}
	return len(Invariants)
}

// Skipped lists the parts that an invariant needs and that could not be read.
func Skipped(s *inventory.State, needs []inventory.Part) []inventory.Part {
	var missing []inventory.Part
	for _, part := range needs {
		if !s.Has(part) {
			missing = append(missing, part)
		}
	}
	return missing
}

// Confirm returns the findings that both of two audits made: the lists of one
// audit are some milliseconds apart, so that what is seen once may be a change
// that was under way.
func Confirm(first, second []Finding) []Finding {
	var both []Finding
	for _, f := range second {
		if slices.ContainsFunc(first, func(g Finding) bool { return g.Invariant == f.Invariant && g.Object == f.Object }) {
			both = append(both, f)
		}
	}
	return both
}

// Broken says whether any finding is more than passing.
func Broken(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return !f.Passing })
}
