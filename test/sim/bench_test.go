// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/sim"
)

// BenchmarkHour is what an hour of five peers costs, with Leases of a minute.
func BenchmarkHour(b *testing.B) {
	w := sim.New(1, sim.Options{
		Pool: "10.0.0.0/25", Hosts: 5, Controllers: 2, Lease: time.Minute, Elect: true,
		Config: ownership.Config{LeaseDuration: time.Minute, GracePeriod: 2 * time.Minute, MaxRemovals: 1},
	})
	defer w.Stop()
	for i := range 5 {
		w.Apply(sim.Op{At: time.Minute, Verb: "pods", Who: w.Hosts[i].Name, Arg: "4"})
	}
	w.Run(10 * time.Minute)
	before, cpu := w.Steps, used(b)
	b.ResetTimer()
	for b.Loop() {
		w.Run(w.Now + time.Hour)
	}
	if len(w.Violations) > 0 {
		b.Fatal(w.Violations)
	}
	b.ReportMetric(float64(w.Steps-before)/float64(b.N), "steps/op")
	b.ReportMetric(float64(b.N)/(used(b)-cpu).Minutes(), "hours/cpu-minute")
}

// used is the CPU time that this process has used, the collector's included.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
