// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"sync"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

// turns lets one at a time work on an attachment. A lock exists while somebody
// has it or waits for it.
type turns struct {
	mu    sync.Mutex
	locks map[addresses.Key]*turn
}

type turn struct {
	sync.Mutex
	users int
}

func newTurns() *turns { return &turns{locks: map[addresses.Key]*turn{}} }

// take waits for the turn and returns what ends it.
func (t *turns) take(k addresses.Key) (end func()) {
	t.mu.Lock()
	lock := t.locks[k]
	if lock == nil {
		lock = new(turn)
		t.locks[k] = lock
	}
	lock.users++
	t.mu.Unlock()
	lock.Lock()
	return func() {
		lock.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if lock.users--; lock.users == 0 {
			delete(t.locks, k)
		}
	}
}
