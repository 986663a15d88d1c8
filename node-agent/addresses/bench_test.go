// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

// sandbox is an id as runtimes make them: 64 hex digits.
func sandbox(n int) addresses.Key {
	return addresses.Key{Network: "selvage", Sandbox: fmt.Sprintf("%064x", n), IfName: "eth0"}
}

// filled is a ledger of the ranges in which n attachments hold addresses.
func filled(b testing.TB, n int, cidrs ...string) *addresses.Ledger {
	b.Helper()
	l := addresses.NewLedger()
	l.SetGate(func() error { return nil })
	var ranges []addresses.Range
	for _, c := range cidrs {
		ranges = append(ranges, addresses.Range{Name: c, UID: c, Pool: "p", CIDR: netip.MustParsePrefix(c), Epoch: 1})
	}
	l.SetRanges(ranges)
	for i := range n {
		if _, err := l.Allocate(sandbox(i), addresses.Request{}); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// processorTime is what the process has used, in nanoseconds.
func processorTime(b testing.TB) int64 {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// BenchmarkAllocateRelease is one attachment's coming and going, at several
// fillings of a range.
func BenchmarkAllocateRelease(b *testing.B) {
	for _, size := range []struct {
		name  string
		cidrs []string
		total int
	}{
		{"20", []string{"10.32.0.0/20"}, 1 << 12},
		{"20+116", []string{"10.32.0.0/20", "fd00:10::/116"}, 1 << 12},
		{"8", []string{"10.0.0.0/8"}, 1 << 24},
		{"104", []string{"fd00:10::/104"}, 1 << 24},
	} {
		for _, percent := range []int{0, 25, 50, 75, 90, 98} {
			if size.total > 1<<20 && percent > 0 {
				continue // sixteen million pods are not a node; only the empty one is of interest
			}
			b.Run(fmt.Sprintf("range=%s/full=%d%%", size.name, percent), func(b *testing.B) {
				l := filled(b, size.total*percent/100, size.cidrs...)
				key := sandbox(size.total)
				b.ReportAllocs()
				before := processorTime(b)
				for b.Loop() {
					if _, err := l.Allocate(key, addresses.Request{}); err != nil {
						b.Fatal(err)
					}
					l.Release(key)
				}
				// On a busy machine the time on the wall says little.
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
