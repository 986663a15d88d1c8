// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"strings"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// coreRules are the controller's own invariants, in its own words. Without one
// of the lists nothing is said: half a snapshot would look damaged.
func coreRules(s *inventory.State) []Finding {
	for _, part := range []inventory.Part{inventory.Pools, inventory.Peers, inventory.Ranges} {
		if !s.Has(part) {
			return nil
		}
	}
	objects := controllers.Objects{Pools: s.Pools, Peers: s.Peers, Ranges: s.Ranges, Removals: s.Removals}
	for _, lease := range s.Leases {
		objects.Leases = append(objects.Leases, lease)
	}
	snapshot, malformed := controllers.Convert(objects)
	snapshot.Consistent = true
	var found []Finding
	for _, m := range malformed {
		found = append(found, Finding{WellFormed, object(m.Kind, m.Name), m.Err.Error(), false})
	}
	for _, v := range ownership.Check(&snapshot) {
		found = append(found, Finding{Invariant(v.Invariant), object(v.Kind, v.Name), v.Message, false})
	}
	return found
}

func object(kind, name string) string { return strings.ToLower(kind) + "/" + name }
