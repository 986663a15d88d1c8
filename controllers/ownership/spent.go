// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

// spentLeases deletes the sealed Leases of names that are gone from the
// cluster for good: otherwise each node that ever was would leave one behind.
//
// No allocation rests on a Lease's being there: a run holds one only by a
// compare-and-swap of a version that it read before the LISTs that it trusts.
// A late renewal, or a late taking, is on a version of what was deleted, and is
// refused whatever has the name by then; and where there is none nobody takes
// one, but makes it sealed, reads it and lists again. So this is about what is
// of use, not about what is safe: a seal that is missing costs the time to
// watch another. See "The lease" in DESIGN.md.
func (d *decider) spentLeases() {
	if d.unsettled != "" {
		return
	}
	owners := make(map[string]bool, len(d.owned))
	for _, ranges := range d.owned {
		owners[ranges[0].Owner.Name] = true
	}
	for i := range d.s.Leases {
		l := &d.s.Leases[i]
		if !l.sealed() || l.Deleting {
			continue
		}
		if d.cfg.on(ruleLeaseSpent) {
			if d.named(l.Name) || owners[l.Name] {
				continue
			}
			if until := d.runsOut(l.Name, 0); until > d.now {
				d.recheck(until)
				continue
			}
		}
		d.write(DeleteLease{*l})
	}
}

// named: something has that name, so that its Lease may be asked for yet. A
// Node's agent can join at any time, and a removal keeps a name out.
func (d *decider) named(name string) bool {
	return d.peers[name] != nil || d.declared[name] != nil || d.nodes[name] != nil
}
