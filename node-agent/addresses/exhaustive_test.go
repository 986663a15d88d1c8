// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses_test

import (
	"net/netip"
	"testing"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

// world is the ledger and its twin in a universe of two addresses of each
// family and two attachments.
type world struct {
	ledger *addresses.Ledger
	slow   *twin
}

func (w *world) allocate(n int, want ...netip.Addr) (problem string) {
	k, req := key(n), addresses.Request{Want: want}
	got, err := w.ledger.Allocate(k, req)
	if had, repeated := w.slow.held[k]; repeated {
		if len(want) == 0 && (err != nil || !sameSet(got, had)) {
			return "a repeated request got another answer"
		}
		return ""
	}
	ok, refused := w.slow.expect(req)
	if ok != (err == nil) || refused != addresses.IsRefused(err) {
		return "the wrong verdict"
	}
	for _, a := range got {
		if !w.slow.mayGive(a) {
			return "an address that may not be given: " + a.String()
		}
	}
	if ok {
		w.slow.held[k] = append([]netip.Addr{}, got...)
	}
	return ""
}

func (w *world) release(n int) string {
	_, held := w.slow.held[key(n)]
	if w.ledger.Release(key(n)) != held {
		return "a release that does not know what was held"
	}
	delete(w.slow.held, key(n))
	return ""
}

func (w *world) set(ranges ...addresses.Range) string {
	w.slow.ranges = ranges
	w.ledger.SetRanges(ranges)
	return ""
}

// TestExhaustive runs every sequence of up to five steps.
func TestExhaustive(t *testing.T) {
	four, six := owned("10.0.0.0/31"), owned("fd00::/127")
	half, none, kept := four, four, netip.MustParsePrefix("10.0.0.0/32")
	half.Keep, none.Keep = &kept, &netip.Prefix{}
	less := four
	less.CIDR, less.Withheld = kept, nil
	withheld := four
	withheld.Withheld = []netip.Addr{addr("10.0.0.0")}
	steps := map[string]func(*world) string{
		"allocate 1":          func(w *world) string { return w.allocate(1) },
		"allocate 2":          func(w *world) string { return w.allocate(2) },
		"allocate 2 10.0.0.1": func(w *world) string { return w.allocate(2, addr("10.0.0.1")) },
		"release 1":           func(w *world) string { return w.release(1) },
		"release 2":           func(w *world) string { return w.release(2) },
		"both":                func(w *world) string { return w.set(six, four) },
		"none":                func(w *world) string { return w.set() },
		"half asked back":     func(w *world) string { return w.set(half) },
		"all asked back":      func(w *world) string { return w.set(none, six) },
		"shrunk":              func(w *world) string { return w.set(less) },
		"withheld":            func(w *world) string { return w.set(withheld) },
	}
	names := make([]string, 0, len(steps))
	for name := range steps {
		names = append(names, name)
	}
	depth := 5
	if testing.Short() {
		depth = 4
	}
	var path []string
	var run func()
	run = func() {
		w := &world{addresses.NewLedger(), &twin{held: map[addresses.Key][]netip.Addr{}}}
		w.set(four)
		for _, name := range path {
			if problem := steps[name](w); problem != "" {
				t.Fatalf("%q: %s", path, problem)
			}
		}
		for _, r := range w.slow.ranges {
			if w.ledger.Used(r.Name) != w.slow.used(r.CIDR) {
				t.Fatalf("%q: %d used of %s, expected %d", path, w.ledger.Used(r.Name), r.Name, w.slow.used(r.CIDR))
			}
		}
		if len(path) == depth {
			return
		}
		for _, name := range names {
			path = append(path, name)
			run()
			path = path[:len(path)-1]
		}
	}
	run()
}
