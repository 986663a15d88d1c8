// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"slices"
	"strings"
	"testing"
)

// The museum's failures of what is left in the kernel; test/museum takes the
// guards out.

// set plans and applies, and returns the steps.
func set(t *testing.T, now *state, d Desired) []string {
	t.Helper()
	return steps(t, withDefaults(t, Options{}), now, d)
}

// calico#7281, #9450: after a node was deleted and added again an entry of the
// former was left in FDB or neighbours. Here what is there is read and compared.
func TestMuseum_calico_7281_stale_entries_after_delete_and_add(t *testing.T) {
	now, d := hostState(), exampleDesired()
	set(t, &now, d)
	// host2 is at another address, and has kept its VTEP's hardware address;
	// host3 is where it was, and has another.
	d.Remotes[0].Underlay = addrs("192.168.77.22")
	d.Remotes[1].VTEP = "5a:5e:00:00:00:33"
	set(t, &now, d)
	goal, err := goalOf(withDefaults(t, Options{}), d, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range now.forwards {
		if !slices.Contains(goal.forwards, f) {
			t.Errorf("left in the FDB: %s", f)
		}
	}
	for _, n := range now.neighbours {
		if !slices.Contains(goal.neighbours, n) {
			t.Errorf("left among the neighbours: %s", n)
		}
	}
	if len(now.forwards) != 2 || len(now.neighbours) != 2 || len(now.filter.peers) != 2 {
		t.Errorf("FDB %v, neighbours %v, filter %v", now.forwards, now.neighbours, now.filter.peers)
	}
}

// cilium PR#33278, #21844: what was deleted while the agent was down stayed in
// the kernel for ever.
func TestMuseum_cilium_PR_33278_deleted_while_down(t *testing.T) {
	now, d := hostState(), exampleDesired()
	set(t, &now, d)
	d.Remotes = d.Remotes[:1] // the next agent has never heard of host3
	set(t, &now, d)
	left := now.String()
	for _, of := range []string{"192.168.77.3", "10.40.0.0/14", "10.44.0.0/14", "5a:5e:c0:a8:4d:03"} {
		if strings.Contains(left, of) {
			t.Errorf("%s is left of host3:\n%s", of, left)
		}
	}
}

// cilium PR#46678: the agent released ranges in use before it had read its own
// object. Here nothing is taken away before what is wanted is complete.
func TestMuseum_cilium_PR_46678_pruned_before_it_was_complete(t *testing.T) {
	now, d := hostState(), exampleDesired()
	now.pods = []Attachment{{HostIf: "sva", Addresses: addrs("10.32.0.1"), Up: true}}
	set(t, &now, d)
	before := now.String()
	d.Own, d.Remotes, d.Complete = nil, nil, false
	if got := set(t, &now, d); len(got) > 0 || now.String() != before {
		t.Errorf("before all was read: %v", got)
	}
}
