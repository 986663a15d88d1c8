// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

// fault is one way to break something. It holds until broken returns what
// mends it, and is mended after a random time between least and most.
type fault struct {
	weight      int
	name        string
	least, most time.Duration
	// inflict returns nil if there was nothing to break.
	inflict func(rng *rand.Rand) (mend func(ctx context.Context))
}

const (
	// pause is the mean time from one fault to the next.
	pause = 2000 * time.Millisecond
	// machinesAtOnce is how many machines faults may be at, besides those that
	// are being removed.
	machinesAtOnce = 3
)

// inflict breaks one thing after another.
func (r *run) inflict(ctx context.Context, rng *rand.Rand) {
	f := &faults{run: r, machines: make(chan struct{}, machinesAtOnce)}
	list, sum := f.list(), 0
	for _, one := range list {
		sum += one.weight
	}
	var mending sync.WaitGroup
	defer mending.Wait()
	for wait(ctx, between(rng, pause/2, pause*3/2)) {
		n := rng.IntN(sum)
		for _, one := range list {
			if n -= one.weight; n >= 0 {
				continue
			}
			long := between(rng, one.least, one.most+1)
			if mend := one.inflict(rng); mend != nil {
				r.counts.fault(one.name)
				r.Journal.Say("fault, for %s: %s", long.Round(time.Millisecond), one.name)
				mending.Go(func() {
					wait(ctx, long)
					// What is broken is mended, also when the time is over.
					mend(context.WithoutCancel(ctx))
				})
			}
			break
		}
	}
}

// faults are those of a run.
type faults struct {
	*run
	// machines bounds those that are broken at once.
	machines chan struct{}
	// plane is set while a part of the control plane is broken.
	plane atomic.Bool
}

const second = time.Second

func (f *faults) list() []fault {
	beyond := f.lease + f.lease/2
	return []fault{
		{6, "agent killed", 0, 0, f.machine((*world.Machine).Down, (*world.Machine).Up)},
		{3, "agent killed, and away", second, 8 * second, f.machine((*world.Machine).Down, (*world.Machine).Up)},
		{3, "agent frozen", second / 2, 3 * second, f.machine((*world.Machine).Freeze, (*world.Machine).Thaw)},
		{4, "agent frozen past its lease", beyond, 2 * beyond, f.machine((*world.Machine).Freeze, (*world.Machine).Thaw)},
		{4, "cable cut", second, 9 * second, f.machine((*world.Machine).Cut, (*world.Machine).Join)},
		{3, "connections to the API cut", second, 8 * second, f.machine((*world.Machine).Sever, (*world.Machine).Mend)},
		{1, "power cut", 0, 0, f.powerCut},
		{2, "machine is not heard", second, 9 * second, f.drop(true, f.everybody)},
		{2, "machine does not hear", second, 9 * second, f.drop(false, f.everybody)},
		{2, "machine is not heard by the API", second, 9 * second, f.drop(true, f.api)},
		{2, "machine does not hear the API", second, 9 * second, f.drop(false, f.api)},
		{4, "machine is not heard by another", second, 12 * second, f.drop(true, f.another)},
		{4, "controller killed", 0, 4 * second, f.controller((*world.Controller).Kill, (*world.Controller).Again)},
		{3, "controller frozen", second, 12 * second, f.controller(freeze, (*world.Controller).Thaw)},
		{2, "API server killed", 0, 2 * second, f.component(f.server, (*controlplane.Component).Kill, start)},
		{1, "API server restarted", 0, 0, f.component(f.server, (*controlplane.Component).Stop, start)},
		{2, "API server frozen", second, 6 * second, f.component(f.server, stopTime, goOn)},
		{1, "etcd killed", 0, second, f.component(f.etcd, (*controlplane.Component).Kill, start)},
		{1, "etcd frozen", second, 5 * second, f.component(f.etcd, stopTime, goOn)},
	}
}

// machine breaks one by chance, unless too many are broken already.
func (f *faults) machine(inflict, mend func(*world.Machine)) func(*rand.Rand) func(context.Context) {
	return f.onMachine(func(m *world.Machine, _ *rand.Rand) func() {
		inflict(m)
		return func() { mend(m) }
	})
}

func (f *faults) onMachine(inflict func(*world.Machine, *rand.Rand) func()) func(*rand.Rand) func(context.Context) {
	return func(rng *rand.Rand) func(context.Context) {
		m := f.Machines[rng.IntN(len(f.Machines))]
		select {
		case f.machines <- struct{}{}:
		default:
			return nil
		}
		mend := inflict(m, rng)
		f.Journal.Say("%s is at fault", m.Name)
		return func(context.Context) {
			mend()
			f.Journal.Say("%s is mended", m.Name)
			<-f.machines
		}
	}
}

func (f *faults) powerCut(rng *rand.Rand) func(context.Context) {
	return f.onMachine(func(m *world.Machine, _ *rand.Rand) func() {
		if err := m.PowerCut(); err != nil {
			f.Journal.Say("%s: cutting the power: %v", m.Name, err)
		}
		return func() {}
	})(rng)
}

// drop loses packets in one direction.
func (f *faults) drop(sending bool, with func(*world.Machine, *rand.Rand) netip.Addr) func(*rand.Rand) func(context.Context) {
	return f.onMachine(func(m *world.Machine, rng *rand.Rand) func() {
		return m.Lose(world.Drop{Sending: sending, With: with(m, rng)})
	})
}

func (f *faults) everybody(*world.Machine, *rand.Rand) netip.Addr { return netip.Addr{} }
func (f *faults) api(*world.Machine, *rand.Rand) netip.Addr       { return f.API() }

func (f *faults) another(m *world.Machine, rng *rand.Rand) netip.Addr {
	for {
		if other := f.Machines[rng.IntN(len(f.Machines))]; other != m {
			return other.Host().Address
		}
	}
}

func (f *faults) controller(inflict func(*world.Controller), mend func(*world.Controller) error) func(*rand.Rand) func(context.Context) {
	return func(rng *rand.Rand) func(context.Context) {
		c := f.Controllers[rng.IntN(len(f.Controllers))]
		inflict(c)
		return func(context.Context) {
			if err := mend(c); err != nil {
				f.Journal.Say("%s cannot be mended: %v", c.Name, err)
			}
		}
	}
}

func freeze(c *world.Controller) { _ = c.Freeze() }

// component breaks one part of the control plane at a time.
func (f *faults) component(which func(*rand.Rand) *controlplane.Component, inflict func(*controlplane.Component), mend func(context.Context, *controlplane.Component) error) func(*rand.Rand) func(context.Context) {
	return func(rng *rand.Rand) func(context.Context) {
		if !f.plane.CompareAndSwap(false, true) {
			return nil
		}
		c := which(rng)
		f.Journal.Say("%s breaks", c.Name)
		inflict(c)
		return func(ctx context.Context) {
			defer f.plane.Store(false)
			// An API server that starts while etcd is away gives up.
			err := world.Persist(ctx, func(ctx context.Context) error { return mend(ctx, c) })
			f.Journal.Say("%s is mended: %v", c.Name, err)
		}
	}
}

func (f *faults) server(rng *rand.Rand) *controlplane.Component {
	return f.Servers[rng.IntN(len(f.Servers))]
}

func (f *faults) etcd(*rand.Rand) *controlplane.Component { return f.Plane.Etcd }
