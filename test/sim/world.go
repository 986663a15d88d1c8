// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sim runs the real controller and the real node agents, loops and all,
// over a simulated API server, network and kernel in virtual time: one thing at
// a time, in an order that a seed decides, so that what goes wrong once goes
// wrong again. Its invariants are checked after each step.
package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// Namespace is where Selvage is installed.
const Namespace = "selvage-system"

// World is a cluster in virtual time. Not for concurrent use; any number of
// worlds may run side by side.
type World struct {
	Options
	Server *apiserver.Server
	// Now is the time since the beginning.
	Now time.Duration
	// Steps is how many messages, timers and faults there were.
	Steps int
	// Violations is what was found broken; nothing goes on after the first.
	Violations []ownership.Violation

	Hosts       []*Host
	Controllers []*Controller

	seed    uint64
	queue   queue
	current *task
	// down: the API server does not answer. murky: its answers to writes may
	// be errors, whatever it did.
	down, murky bool
	backup      *apiserver.Backup
	restored    bool
	checks      checks
	log         []string
}

// Options say what a world is like.
type Options struct {
	Hosts, Controllers int
	// Pool is what they share.
	Pool string
	// Lease is how long the agents' Leases last.
	Lease time.Duration
	// Elect: of the controllers one leads, most of the time.
	Elect bool
	// Config is the controllers'. Its Seed and Term are set here.
	Config ownership.Config
	// Mutation, if any, breaks a rule that does not belong to the Config.
	Mutation Mutation
	// Admit, if any, refuses what the API server is not to take
	// (apiserver/rules): nobody here sends that.
	Admit func(before, after client.Object) error
	// Scarce: of the plots, those about scarcity alone are invented.
	Scarce bool
	// Verbose keeps a log of what happens.
	Verbose bool
}

// New returns a world in which everybody has just been switched on.
func New(seed uint64, o Options) *World {
	w := &World{Options: o, Server: apiserver.New(), seed: seed}
	w.Server.Now = w.wall
	w.Server.Changed = w.changed
	if o.Admit != nil {
		w.Server.Admit = w.admit
	}
	w.checks.init()
	first, most := int32(29), int32(28)
	if strings.HasSuffix(w.Pool, "/26") {
		first = 30 // ranges of three sizes
	}
	w.put(&v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: w.Pool, RangePrefixLength: &first, MaxRangePrefixLength: &most},
	})
	for i := range o.Hosts {
		w.addHost(fmt.Sprintf("host%d", i+1), i)
	}
	for i := range o.Controllers {
		w.addController(fmt.Sprintf("controller%d", i+1))
	}
	return w
}

// wall is the wall clock.
func (w *World) wall() time.Time {
	return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(w.Now)
}

// random is chance for one purpose: what is drawn for one does not depend on
// how much is drawn for another, so that a history changes little if one event
// of it is left out.
func (w *World) random(purpose string) *rand.Rand {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(purpose))
	return rand.New(rand.NewPCG(w.seed, sum.Sum64()))
}

// Run goes on until that time, or until something is broken.
func (w *World) Run(until time.Duration) {
	for len(w.Violations) == 0 && !w.queue.empty() && w.queue.next() <= until {
		e := w.queue.pop()
		w.Now = e.at
		w.do(e)
	}
	if len(w.Violations) == 0 {
		w.Now = max(w.Now, until)
	}
}

// do lets an event happen, to a process that can take it.
func (w *World) do(e event) {
	p := e.process
	if p == nil {
		w.Steps++
		e.do()
		w.checkHolders()
		return
	}
	switch {
	case p.dead:
		return
	case p.machine.frozen:
		p.machine.deferred = append(p.machine.deferred, e)
		return
	}
	w.Steps++
	e.do()
	p.poll()
	w.checkHolders()
}

// after has something happen later, to a process; nil: to the world.
func (w *World) after(d time.Duration, p *process, do func()) {
	w.queue.push(event{at: w.Now + max(d, 0), process: p, do: do})
}

// note keeps a line about what happens.
func (w *World) note(format string, args ...any) {
	if w.Verbose {
		w.log = append(w.log, fmt.Sprintf("%12s  ", w.Now)+fmt.Sprintf(format, args...))
	}
}

// Log is what happened, if it was kept.
func (w *World) Log() []string { return w.log }

// Stop ends every process. The world is of no use after that.
func (w *World) Stop() {
	for _, h := range w.Hosts {
		h.kill()
	}
	for _, c := range w.Controllers {
		c.kill()
	}
}

// process finds the process of that name; nil: it does not run.
func (w *World) process(name string) *process {
	for _, h := range w.Hosts {
		if h.Name == name && h.agent != nil {
			return h.agent.process
		}
	}
	for _, c := range w.Controllers {
		if c.name == name {
			return c.process
		}
	}
	return nil
}

// machine finds a machine by the name of what runs on it.
func (w *World) machine(name string) *machine {
	for _, h := range w.Hosts {
		if h.Name == name {
			return &h.machine
		}
	}
	for _, c := range w.Controllers {
		if c.name == name {
			return &c.machine
		}
	}
	return nil
}

// Host finds a host; nil: there is none of that name.
func (w *World) Host(name string) *Host {
	for _, h := range w.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// put creates an object as the surroundings do, which are never refused.
func (w *World) put(o client.Object) {
	if _, err := w.Server.Create(o); err != nil {
		w.note("creating %s: %v", o.GetName(), err)
	}
}
