// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"slices"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// TestFormerIsNamed: a removal that is declared while the former peer of that
// name, which another declaration removed, is still there says what it waits for.
func TestFormerIsNamed(t *testing.T) {
	former := ownership.Peer{NodeUID: "node", Phase: ownership.Removed, Removal: &ownership.Removal{Reason: ownership.Declared, RemovalUID: "first"}}
	former.Name, former.UID, former.Finalizer = "host3", "u", true
	again := ownership.Declaration{}
	again.Name, again.UID, again.Finalizer = "host3", "second", true
	s := &ownership.Snapshot{
		Consistent: true, Peers: []ownership.Peer{former}, Removals: []ownership.Declaration{again},
		Nodes: []ownership.Node{{Name: "host3", UID: "node"}},
	}
	m := ownership.NewMemory()
	m.Observe(s, time.Hour)
	d := ownership.Decide(s, m, time.Hour, ownership.Config{LeaseDuration: time.Minute})
	if !slices.ContainsFunc(d.Waits, func(w ownership.Wait) bool {
		return w.Kind == "PeerRemoval" && w.Name == "host3" && w.Reason == "AwaitingFormer"
	}) {
		t.Errorf("%+v", d.Waits)
	}
}
