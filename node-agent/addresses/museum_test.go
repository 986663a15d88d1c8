// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

// The museum's failures that the ledger prevents; test/museum takes the guards
// out.

// kubernetes#96416: a restart counted usage twice. Here the kernel is read once
// more while the agent runs, as it is when news were lost.
func TestMuseum_kubernetes_96416_usage_counted_twice(t *testing.T) {
	l := addresses.NewLedger()
	l.SetRanges([]addresses.Range{owned("10.0.0.0/29")})
	for range 3 {
		l.SetRanges([]addresses.Range{owned("10.0.0.0/29"), owned("10.0.1.0/29")})
		l.SetRanges([]addresses.Range{owned("10.0.0.0/29")})
		for n := range 4 {
			l.Hold(key(n), []netip.Addr{addr(fmt.Sprint("10.0.0.", n))})
		}
	}
	if use := l.Pools()["p"]; l.Used("10.0.0.0/29") != 4 || use.Used != 4 || use.Capacity != 8 {
		t.Errorf("4 are in use of 8, and counted are %d, %+v", l.Used("10.0.0.0/29"), use)
	}
	for n := range 4 {
		l.Release(key(n))
	}
	if use := l.Pools()["p"]; use.Used != 0 || use.Capacity != 8 {
		t.Errorf("none is in use, and counted are %+v", use)
	}
}

// antrea#7893: an old allocator was vendored, which gave out what was in use
// once it had come round. Here some stay while the others come and go, often
// enough to come round many times.
func TestMuseum_antrea_7893_duplicates_on_rotation(t *testing.T) {
	l, holder := addresses.NewLedger(), map[netip.Addr]int{}
	l.SetRanges([]addresses.Range{owned("10.0.0.0/29")})
	for n := range 500 {
		got, err := l.Allocate(key(n), addresses.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if other, held := holder[got[0]]; held {
			t.Fatalf("%s is pod %d's, and was given to pod %d", got[0], other, n)
		}
		if n < 8 && n%3 == 0 {
			holder[got[0]] = n // this one stays
			continue
		}
		l.Release(key(n))
	}
}
