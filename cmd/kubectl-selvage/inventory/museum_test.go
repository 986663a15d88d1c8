// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"testing"
)

// weave#2104: two peers had one nickname, and an arbitrary one of them was the
// victim of its removal. Here a name that may mean several is refused.
// test/museum takes the guard out.
func TestMuseum_weave_2104_one_nickname_two_peers(t *testing.T) {
	s := threeHosts()
	for _, name := range []string{"db.example", "192.168.77.12"} {
		p, err := s.Resolve(name)
		if ambiguous := (&AmbiguousError{}); !errors.As(err, &ambiguous) {
			t.Errorf("%s was taken for %v (%v)", name, p, err)
		}
	}
	// Said exactly, the one that is meant is found.
	if p, err := s.Resolve("peer/host3"); err != nil || p.Name != "host3" {
		t.Errorf("peer/host3 is %v, %v", p, err)
	}
}
