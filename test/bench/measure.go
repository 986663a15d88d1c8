// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// figures are what one round, or the medians of all, gives of a plugin.
type figures struct {
	addP50, addP99, delP50, delP99 float64 // milliseconds, one call at a time
	addRate1, delRate1             float64 // calls a second, one at a time
	addRate, delRate               float64 // calls a second, all workers
	addCPU, delCPU                 float64 // milliseconds a call, the agent's included
	addAgentCPU                    float64
}

// measure runs the rounds, the two plugins in turn.
func (s *stage) measure(ctx context.Context, o options) (ourFigures, theirFigures figures, err error) {
	both := []plugin{ours(s, o), theirs(s, o)}
	rounds := make([][]figures, len(both))
	for i := range both { // what happens only once is no part of it
		if _, err := s.round(ctx, &both[i], 8); err != nil {
			return figures{}, figures{}, err
		}
	}
	for n := range o.rounds {
		for i := range both {
			at := (n + i) % len(both)
			f, err := s.round(ctx, &both[at], len(s.pods))
			if err != nil {
				return figures{}, figures{}, err
			}
			fmt.Fprintf(os.Stderr, "round %d of %d, %-19s: ADD %.2f ms, DEL %.2f ms, %.0f ADDs/s\n", n+1, o.rounds, both[at].name, f.addP50, f.delP50, f.addRate)
			rounds[at] = append(rounds[at], f)
		}
	}
	return medians(rounds[0]), medians(rounds[1]), nil
}

// round adds and deletes pods, one at a time and then many at once.
func (s *stage) round(ctx context.Context, p *plugin, pods int) (figures, error) {
	var f figures
	for _, workers := range []int{1, len(s.workers)} {
		add, err := s.part(ctx, p, "ADD", pods, workers)
		if err != nil {
			return f, err
		}
		del, err := s.part(ctx, p, "DEL", pods, workers)
		if err != nil {
			return f, err
		}
		if err := until(ctx, "the pods' interfaces are gone", s.clean); err != nil {
			return f, err
		}
		if workers == 1 {
			f.addP50, f.addP99, f.addRate1 = add.quantile(0.5), add.quantile(0.99), add.rate
			f.delP50, f.delP99, f.delRate1 = del.quantile(0.5), del.quantile(0.99), del.rate
			f.addCPU, f.delCPU, f.addAgentCPU = add.cpu, del.cpu, add.agentCPU
		} else {
			f.addRate, f.delRate = add.rate, del.rate
		}
	}
	return f, nil
}

// part is what one verb took.
type part struct {
	took          []time.Duration
	rate          float64
	cpu, agentCPU float64
}

func (p *part) quantile(q float64) float64 {
	slices.Sort(p.took)
	return float64(p.took[int(q*float64(len(p.took)-1)+0.5)].Microseconds()) / 1000
}

func (s *stage) part(ctx context.Context, p *plugin, command string, pods, workers int) (part, error) {
	took := make([]time.Duration, pods)
	errs := make([]error, workers)
	var next atomic.Int64
	var wg sync.WaitGroup
	before, beforeAgent := cpuOf(0), cpuOf(p.agent)
	start := time.Now()
	for i, w := range s.workers[:workers] {
		wg.Add(1)
		w.jobs <- func() {
			defer wg.Done()
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= pods {
					return
				}
				id := fmt.Sprintf("%064x", n)
				if took[n], errs[i] = p.call(command, id, processes.NetPath(s.pods[n])); errs[i] != nil {
					return
				}
			}
		}
	}
	wg.Wait()
	all := time.Since(start)
	agent := cpuOf(p.agent) - beforeAgent
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(pods) }
	return part{took: took, rate: float64(pods) / all.Seconds(), cpu: each(cpuOf(0) - before + agent), agentCPU: each(agent)},
		errors.Join(append(errs, ctx.Err())...)
}

// cpuOf is the time that a process has used; that of all the children that
// have ended for 0.
func cpuOf(pid int) time.Duration {
	if pid == 0 {
		var usage unix.Rusage
		if unix.Getrusage(unix.RUSAGE_CHILDREN, &usage) != nil {
			return 0
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	var used unix.Timespec
	const cpuClockSched = 2 // of the kernel's clock ids for processes
	if unix.ClockGettime(int32(^pid<<3|cpuClockSched), &used) != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

// clean says whether the host has no pod's interface any more.
func (s *stage) clean() error {
	return s.host.Do(func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, l := range links {
			if strings.HasPrefix(l.Name, "veth") || (strings.HasPrefix(l.Name, "sv") && len(l.Name) > 10) {
				return fmt.Errorf("interface %s is there", l.Name)
			}
		}
		return nil
	})
}

// medians takes each figure by itself.
func medians(rounds []figures) figures {
	median := func(of func(*figures) float64) float64 {
		values := make([]float64, len(rounds))
		for i := range rounds {
			values[i] = of(&rounds[i])
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return figures{
		addP50: median(func(f *figures) float64 { return f.addP50 }), addP99: median(func(f *figures) float64 { return f.addP99 }),
		delP50: median(func(f *figures) float64 { return f.delP50 }), delP99: median(func(f *figures) float64 { return f.delP99 }),
		addRate1: median(func(f *figures) float64 { return f.addRate1 }), delRate1: median(func(f *figures) float64 { return f.delRate1 }),
		addRate: median(func(f *figures) float64 { return f.addRate }), delRate: median(func(f *figures) float64 { return f.delRate }),
		addCPU: median(func(f *figures) float64 { return f.addCPU }), delCPU: median(func(f *figures) float64 { return f.delCPU }),
		addAgentCPU: median(func(f *figures) float64 { return f.addAgentCPU }),
	}
}
