// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package await waits, in tests, for what happens by itself.
package await

import (
	"testing"
	"time"
)

const (
	// Limit is how long is waited: machines may be slow, and only what is broken
	// takes as long.
	Limit = 90 * time.Second

	// often is how long lies between two looks, notable what is told of.
	often, notable = 50 * time.Millisecond, 3 * time.Second
)

// Until waits until the condition holds, and fails with what it lacked.
func Until(t testing.TB, what string, condition func() error) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		err := condition()
		took := time.Since(began)
		switch {
		case err == nil && took > notable:
			t.Logf("after %.1f s: %s", took.Seconds(), what)
			return
		case err == nil:
			return
		case took > Limit:
			t.Fatalf("waited %s for %s: %v", Limit, what, err)
		}
		<-tick.C
	}
}

// Throughout fails if the condition breaks within that time.
func Throughout(t testing.TB, span time.Duration, what string, condition func() error) {
	t.Helper()
	tick := time.NewTicker(2 * often)
	defer tick.Stop()
	for end := time.Now().Add(span); time.Now().Before(end); <-tick.C {
		if err := condition(); err != nil {
			t.Fatalf("not so throughout %s: %s: %v", span, what, err)
		}
	}
}
