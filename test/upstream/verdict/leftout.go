// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package verdict compares what ran with what was to run: every upstream spec
// about the network either ran, or is left out with a reason that is written
// down.
package verdict

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// LeftOut are the specs that are not run, grouped by why.
type LeftOut []Group

// Group is left out for one reason.
type Group struct {
	// Why is what a reader is told.
	Why string `json:"why"`
	// With, if set, is the only kind of cluster on which they are left out.
	With string `json:"with,omitempty"`
	// Specs are parts of the specs' full names.
	Specs []string `json:"specs"`
}

// ParseLeftOut reads the list, for the kind of cluster at hand. A kind is one
// of several that exclude each other; all of them are kinds.
func ParseLeftOut(data []byte, cluster, kinds []string) (LeftOut, error) {
	var list LeftOut
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, fmt.Errorf("reading the list of specs that are left out: %w", err)
	}
	for i, group := range list {
		if strings.TrimSpace(group.Why) == "" {
			return nil, fmt.Errorf("group %d of the specs that are left out says no reason", i+1)
		}
		if len(group.Specs) == 0 {
			return nil, fmt.Errorf("nothing is left out because: %s", group.Why)
		}
		if slices.ContainsFunc(group.Specs, func(part string) bool { return strings.TrimSpace(part) == "" }) {
			return nil, errors.New("an empty name would leave out every spec")
		}
		if group.With != "" && !slices.Contains(kinds, group.With) {
			return nil, fmt.Errorf("specs are left out with %q: say one of %s", group.With, strings.Join(kinds, ", "))
		}
	}
	return slices.DeleteFunc(list, func(g Group) bool { return g.With != "" && !slices.Contains(cluster, g.With) }), nil
}

// Pattern is the regular expression that matches what is left out, for
// Ginkgo's --skip. It is empty if nothing is.
func (l LeftOut) Pattern() string {
	var parts []string
	for _, group := range l {
		for _, part := range group.Specs {
			parts = append(parts, regexp.QuoteMeta(part))
		}
	}
	return strings.Join(parts, "|")
}

// find returns the group and the part of a name by which a spec is left out.
func (l LeftOut) find(name string) (group int, part string) {
	for i, g := range l {
		for _, part := range g.Specs {
			if strings.Contains(name, part) {
				return i, part
			}
		}
	}
	return -1, ""
}
