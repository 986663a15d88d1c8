// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// goals are ratios to bridge + host-local: at most, or at least.
const (
	goalAddP50  = 0.35
	goalAddP99  = 0.5
	goalDelP50  = 0.15
	goalAddRate = 3.0
)

// report writes the table and says whether all goals are met.
func report(o options, ours, theirs figures) (string, bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "CNI ADD and DEL, executed as a runtime does; %s\n", time.Now().UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "%s, %d processors, kernel %s; %s\n", runtime.GOARCH, runtime.NumCPU(), kernel(), debian())
	fmt.Fprintf(&b, "medians of %d interleaved rounds, %d pods each; only ratios carry over to other machines\n\n", o.rounds, o.pods)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	met := true
	line := func(name, format string, our, their float64, goal float64, least bool) {
		ratio, verdict := our/their, ""
		if goal > 0 {
			ok := ratio <= goal
			bound := "at most"
			if least {
				ok, bound = ratio >= goal, "at least"
			}
			met = met && ok
			verdict = fmt.Sprintf("%s %.2f: %s", bound, goal, map[bool]string{true: "met", false: "MISSED"}[ok])
		}
		fmt.Fprintf(w, "%s\t"+format+"\t"+format+"\t%.2f\t%s\t\n", name, our, their, ratio, verdict)
	}
	fmt.Fprintln(w, "\tselvage\tbridge + host-local\tratio\tgoal\t")
	line("ADD p50, ms", "%.2f", ours.addP50, theirs.addP50, goalAddP50, false)
	line("ADD p99, ms", "%.2f", ours.addP99, theirs.addP99, goalAddP99, false)
	line("DEL p50, ms", "%.2f", ours.delP50, theirs.delP50, goalDelP50, false)
	line("DEL p99, ms", "%.2f", ours.delP99, theirs.delP99, 0, false)
	line("ADDs/s, 1 worker", "%.0f", ours.addRate1, theirs.addRate1, 0, true)
	line(fmt.Sprintf("ADDs/s, %d workers", o.workers), "%.0f", ours.addRate, theirs.addRate, goalAddRate, true)
	line("DELs/s, 1 worker", "%.0f", ours.delRate1, theirs.delRate1, 0, true)
	line(fmt.Sprintf("DELs/s, %d workers", o.workers), "%.0f", ours.delRate, theirs.delRate, 0, true)
	line("CPU ms per ADD", "%.2f", ours.addCPU, theirs.addCPU, 0, false)
	line("CPU ms per DEL", "%.2f", ours.delCPU, theirs.delCPU, 0, false)
	_ = w.Flush()
	fmt.Fprintf(&b, "\nThe agent's share of the CPU time of an ADD: %.2f of %.2f ms.\n", ours.addAgentCPU, ours.addCPU)
	return b.String(), met
}

func kernel() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// debian is the version of what is compared with.
func debian() string {
	out, err := exec.Command("dpkg-query", "-W", "containernetworking-plugins").Output()
	if err != nil {
		return "containernetworking-plugins of unknown version"
	}
	return strings.Join(strings.Fields(string(out)), " ")
}
