// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package await

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// witness is a test that notes what is said of it, and how it ends.
type witness struct {
	testing.TB
	said   string
	failed bool
}

func (w *witness) Helper() {}

func (w *witness) Logf(format string, args ...any) { w.said = fmt.Sprintf(format, args...) }

func (w *witness) Fatalf(format string, args ...any) {
	w.Logf(format, args...)
	w.failed = true
	runtime.Goexit()
}

// watched is what became of a test, and how long that took.
func watched(test func(testing.TB)) (*witness, time.Duration) {
	w, began := &witness{}, time.Now()
	over := make(chan struct{})
	go func() {
		defer close(over)
		test(w)
	}()
	<-over
	return w, time.Since(began)
}

// after is a condition that holds from then on, or breaks.
func after(d time.Duration, before, then error) func() error {
	began := time.Now()
	return func() error {
		if time.Since(began) < d {
			return before
		}
		return then
	}
}

func TestUntil(t *testing.T) {
	lacking := errors.New("it is not there")
	for name, c := range map[string]struct {
		takes, took time.Duration
		said        string
		failed      bool
	}{
		"at once":   {},
		"soon":      {takes: time.Second, took: time.Second},
		"late":      {takes: 60 * time.Second, took: 60 * time.Second, said: "after 60.0 s: it"},
		"never":     {takes: time.Hour, took: Limit + often, said: "waited 1m30s for it: it is not there", failed: true},
		"just then": {takes: Limit, took: Limit, said: "after 90.0 s: it"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, took := watched(func(tb testing.TB) { Until(tb, "it", after(c.takes, lacking, nil)) })
				if w.said != c.said || w.failed != c.failed || took != c.took {
					t.Errorf("%q, failed: %t, after %s", w.said, w.failed, took)
				}
			})
		})
	}
}

func TestThroughout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if w, took := watched(func(tb testing.TB) {
			Throughout(tb, 5*time.Second, "it", func() error { return nil })
		}); w.failed || took != 5*time.Second {
			t.Errorf("%q after %s", w.said, took)
		}
		broke := errors.New("it broke")
		if w, took := watched(func(tb testing.TB) {
			Throughout(tb, 5*time.Second, "it", after(2*time.Second, nil, broke))
		}); !w.failed || w.said != "not so throughout 5s: it: it broke" || took != 2*time.Second {
			t.Errorf("%q after %s", w.said, took)
		}
	})
}
