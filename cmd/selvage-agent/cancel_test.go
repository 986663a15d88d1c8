// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/selvage-net/selvage/node-agent/membership"
)

func TestRemains(t *testing.T) {
	for _, c := range []struct {
		now  membership.Progress
		sure bool
		err  string
	}{
		{membership.Progress{Row: "Resume", Peer: "u"}, true, ""},
		{membership.Progress{Row: "Resume", Peer: "u", Staying: true}, false, ""},
		{membership.Progress{Row: "Suspended", Peer: "u", Removal: "Leaving", Staying: true}, false, ""},
		{membership.Progress{Row: "Unreachable", Staying: true}, false, ""},
		{membership.Progress{Row: "Suspended", Peer: "u", Removal: "Declared"}, false, "kubectl selvage cancel"},
		{membership.Progress{Row: "Resume", Peer: "u", Leaving: true}, false, "another selvage-agent reset"},
		{membership.Progress{Row: "Fenced", Peer: "u", Staying: true}, false, "point of no return"},
		{membership.Progress{Row: "Resume", Peer: "another"}, false, "too late"},
		{membership.Progress{Row: "Scratch", Left: true}, false, "too late"},
		{membership.Progress{Row: "Scratch", Waiting: "the Node host1"}, false, "nothing to cancel: this node is not a member of the network (Scratch: the Node host1)"},
		{membership.Progress{Row: "DeclaredOut"}, false, "nothing to cancel"},
		{membership.Progress{Row: "Contend"}, false, "nothing to cancel"},
	} {
		sure, err := remains(c.now, "u")
		if sure != c.sure || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %t, %v", c.now, sure, err)
		}
	}
}
