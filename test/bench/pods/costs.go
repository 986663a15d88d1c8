// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

// cost is what one program took, on the node where it took most.
type cost struct {
	memory int64         // bytes, at the end
	cpu    time.Duration // a second
}

type costs map[string]cost

var programs = []string{"selvage-agent", "selvage-controller"}

// measureIdle watches the cluster do nothing.
func measureIdle(ctx context.Context, s *stage.Stage, span time.Duration) (costs, error) {
	fmt.Fprintln(os.Stderr, "watching the idle cluster for", span)
	return measure(s, func() error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(span):
			return nil
		}
	})
}

// measureChurn lets pods come and go, twelve at once.
func measureChurn(ctx context.Context, s *stage.Stage, pods int) (costs, error) {
	fmt.Fprintln(os.Stderr, "letting", pods, "pods come and go")
	return measure(s, func() error {
		var workers errgroup.Group
		workers.SetLimit(12)
		for i := range pods {
			workers.Go(func() error {
				pod := stage.Pod(fmt.Sprintf("churn-%d", i), fmt.Sprintf("node%d", 1+i%3))
				if err := s.Start(ctx, pod); err != nil {
					return err
				}
				return s.Delete(ctx, pod)
			})
		}
		return workers.Wait()
	})
}

func measure(s *stage.Stage, do func() error) (costs, error) {
	before := usage(s)
	began := time.Now()
	if err := do(); err != nil {
		return nil, err
	}
	took, after := time.Since(began), usage(s)
	result := costs{}
	for place, now := range after {
		_, program, _ := strings.Cut(place, " ")
		c := result[program]
		c.memory = max(c.memory, now.Memory)
		c.cpu = max(c.cpu, time.Duration(float64(now.CPU-before[place].CPU)/took.Seconds()))
		result[program] = c
	}
	if len(result) != len(programs) {
		return nil, fmt.Errorf("of %v only %v were found", programs, result)
	}
	return result, nil
}

// usage is what each program takes on each node; not every node runs each.
func usage(s *stage.Stage) map[string]stage.Usage {
	found := map[string]stage.Usage{}
	for _, n := range s.Nodes() {
		for _, program := range programs {
			if u, err := s.Usage(n.Name, program); err == nil {
				found[n.Name+" "+program] = u
			}
		}
	}
	return found
}

func report(o options, idle, churn costs, ours, theirs []time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Real nodes (3), %s. Sandboxes on one node, one at a time, %d interleaved rounds of %d each.\n\n",
		time.Now().UTC().Format(time.DateOnly), o.rounds, o.sandboxes)
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "sandbox made, its network ready\tSelvage\tbridge+host-local\tratio")
	for _, p := range []int{50, 99} {
		a, z := percentile(ours, p), percentile(theirs, p)
		fmt.Fprintf(w, "p%d\t%.1f ms\t%.1f ms\t%.2f\n", p, a.Seconds()*1e3, z.Seconds()*1e3, float64(a)/float64(z))
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "cost on the busiest node\tidle\twhile %d pods come and go\t\n", o.churn)
	for _, program := range programs {
		fmt.Fprintf(w, "%s, memory\t%d MB\t%d MB\t\n", program, idle[program].memory>>20, churn[program].memory>>20)
		fmt.Fprintf(w, "%s, CPU\t%.2f %%\t%.2f %%\t\n", program, idle[program].cpu.Seconds()*100, churn[program].cpu.Seconds()*100)
	}
	w.Flush()
	return b.String()
}

func percentile(times []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[(len(sorted)-1)*p/100]
}
