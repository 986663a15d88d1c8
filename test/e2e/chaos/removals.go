// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/test/e2e/chaos/chronicle"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

const (
	// operators is how many people remove peers at once.
	operators = 4
	// patience is how long one of them waits for the end of a removal, or for
	// a machine's coming back, before doing something else.
	patience = 75 * time.Second
)

// removal is one peer's being taken out and coming back, by one operator.
type removal struct {
	*run
	rng     *rand.Rand
	machine *world.Machine
	uid     types.UID // the incarnation
	undo    []func()
	// silent: nobody declares it, so that only its end tells that it has begun.
	silent bool
	// drained: pods run again once the removal has ended, or it would not.
	drained bool
}

// operate removes one peer after another.
func (r *run) operate(ctx context.Context, rng *rand.Rand) {
	for wait(ctx, between(rng, time.Second, 4*time.Second)) {
		m, uid := r.choose(rng)
		if m == nil {
			continue
		}
		o := &removal{run: r, rng: rng, machine: m, uid: uid}
		o.remove(ctx)
		o.comeBack(ctx)
		r.release(m)
	}
}

// choose takes a machine that is in the network and that nobody is at. Half of
// the machines are left alone.
func (r *run) choose(rng *rand.Rand) (*world.Machine, types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.busy) >= len(r.Machines)/2 {
		return nil, ""
	}
	m := r.Machines[rng.IntN(len(r.Machines))]
	var uid types.UID
	r.chronicle.Look(func(v chronicle.View) {
		if v.Active(m.Name) && v.Reachable(m.Name) {
			uid = v.Peer(m.Name).UID
		}
	})
	if r.busy[m.Name] || uid == "" {
		return nil, ""
	}
	r.busy[m.Name] = true
	return m, uid
}

func (r *run) release(m *world.Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, m.Name)
}

// manners are the ways in which a machine is when it is taken out.
func (o *removal) manners() []struct {
	weight int
	name   string
	do     func(context.Context)
} {
	m := o.machine
	hold := func(do, undo func()) { do(); o.undo = append(o.undo, undo) }
	drain := func() { o.drained = true; hold(m.Drain, func() { m.Fill(podsEach) }) }
	declare := func(ctx context.Context) { o.declare(ctx, false) }
	return []struct {
		weight int
		name   string
		do     func(context.Context)
	}{
		{6, "drained", func(ctx context.Context) { drain(); declare(ctx) }},
		{2, "drained after it was declared", func(ctx context.Context) { declare(ctx); drain() }},
		{4, "agent dead", func(ctx context.Context) { hold(m.Down, m.Up); declare(ctx) }},
		{4, "agent frozen", func(ctx context.Context) { hold(m.Freeze, m.Thaw); declare(ctx) }},
		{4, "cut off", func(ctx context.Context) { hold(m.Cut, m.Join); declare(ctx) }},
		{2, "cut off from the API", func(ctx context.Context) { hold(m.Sever, m.Mend); declare(ctx) }},
		{4, "off, asserted", o.asserted},
		{2, "out of service", o.outOfService},
		{3, "its Node deleted", o.nodeGone},
		{2, "re-imaged under its name", o.reimaged},
	}
}

// remove takes the peer out, one way or another, and waits for the end.
func (o *removal) remove(ctx context.Context) {
	manners, sum := o.manners(), 0
	for _, way := range manners {
		sum += way.weight
	}
	n := o.rng.IntN(sum)
	for _, way := range manners {
		if n -= way.weight; n < 0 {
			o.counts.operation("removal: " + way.name)
			o.Journal.Say("%s (%s) is removed: %s", o.machine.Name, o.uid, way.name)
			way.do(ctx)
			break
		}
	}
	if o.rng.IntN(8) == 0 {
		wait(ctx, between(o.rng, 0, 4*time.Second))
		o.counts.operation("cancel")
		o.Journal.Say("%s: the removal is cancelled", o.machine.Name)
		o.withdraw(ctx)
	}
	if !o.drained && o.rng.IntN(4) == 0 {
		// The machine is well again while it is being taken out.
		wait(ctx, between(o.rng, 0, 8*time.Second))
		o.mend()
	}
	if !o.await(ctx, o.ended) {
		o.complain(ctx, "the removal has not ended")
	}
}

// ended: the incarnation is out, or nobody wants it out any more.
func (o *removal) ended(v chronicle.View) bool {
	p := v.Peer(o.machine.Name)
	return p == nil || p.UID != o.uid || inventory.Phase(p) == v1alpha1.PhaseRemoved ||
		!o.silent && v.Removal(o.machine.Name) == nil && p.Spec.Removal == nil
}

func (o *removal) await(ctx context.Context, condition func(chronicle.View) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return o.chronicle.Await(ctx, condition) == nil
}

func (o *removal) complain(ctx context.Context, what string) {
	if ctx.Err() != nil {
		return
	}
	o.counts.operation("slow: " + what)
	o.chronicle.Look(func(v chronicle.View) {
		said := ""
		if r := v.Removal(o.machine.Name); r != nil {
			said = saying(r.Status.Conditions)
		}
		if p := v.Peer(o.machine.Name); p != nil {
			said += "; the Peer: " + string(inventory.Phase(p)) + " " + saying(p.Status.Conditions)
		}
		o.Journal.Say("%s: %s after %s: %s", o.machine.Name, what, patience, said)
	})
}

func (o *removal) mend() {
	for _, undo := range o.undo {
		undo()
	}
	o.undo = nil
}

// comeBack makes the machine whole, perhaps with another disk, and lets it
// join.
func (o *removal) comeBack(ctx context.Context) {
	switch o.rng.IntN(6) {
	case 0:
		o.counts.operation("back: disk wiped")
		o.machine.Down()
		if err := o.machine.Wipe(); err != nil {
			o.Journal.Say("%v", err)
		}
		o.machine.Up()
	case 1:
		o.counts.operation("back: rebooted")
		if err := o.machine.PowerCut(); err != nil {
			o.Journal.Say("%s: cutting the power: %v", o.machine.Name, err)
		}
	default:
		o.counts.operation("back: as it was")
	}
	always := context.WithoutCancel(ctx)
	if o.rng.IntN(3) == 0 { // it is there before it may join
		o.mend()
		wait(ctx, between(o.rng, 0, 3*time.Second))
	}
	o.withdraw(always)
	o.mend()
	back := func(v chronicle.View) bool { return v.Active(o.machine.Name) && v.Reachable(o.machine.Name) }
	if !o.await(ctx, back) {
		o.complain(ctx, "the machine is not back")
	}
}

// declare makes the PeerRemoval; now and then two people do, and each wants
// another heir.
func (o *removal) declare(ctx context.Context, assertDown bool) {
	heirs := []string{o.anHeir()}
	if o.rng.IntN(3) == 0 {
		heirs = append(heirs, o.anHeir())
		o.counts.operation("conflicting declaration")
	}
	var writers sync.WaitGroup
	for _, heir := range heirs {
		writers.Go(func() {
			_ = world.Persist(ctx, func(ctx context.Context) error {
				err := o.Admin.Create(ctx, &v1alpha1.PeerRemoval{
					ObjectMeta: metav1.ObjectMeta{Name: o.machine.Name}, Spec: v1alpha1.PeerRemovalSpec{Heir: heir, AssertDown: assertDown},
				})
				if apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
					return nil // somebody was quicker: perhaps we ourselves
				}
				return err
			})
		})
	}
	writers.Wait()
	o.await(ctx, func(v chronicle.View) bool {
		p := v.Peer(o.machine.Name)
		return v.Removal(o.machine.Name) != nil || p == nil || p.UID != o.uid
	})
}

// anHeir is another machine, or nobody.
func (o *removal) anHeir() string {
	other := o.Machines[o.rng.IntN(len(o.Machines))]
	if other == o.machine || o.rng.IntN(5) == 0 {
		return ""
	}
	return other.Name
}

// withdraw deletes the PeerRemoval, if there is one, and waits until it is
// gone.
func (o *removal) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = world.Persist(ctx, func(ctx context.Context) error {
		return client.IgnoreNotFound(o.Admin.Delete(ctx, &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: o.machine.Name}}))
	})
	_ = o.chronicle.Await(ctx, func(v chronicle.View) bool { return v.Removal(o.machine.Name) == nil })
}

// asserted: the machine is off, for sure, and a person says so.
func (o *removal) asserted(ctx context.Context) {
	o.machine.Cut()
	o.machine.Down()
	o.undo = append(o.undo, func() { o.machine.Join(); o.machine.Up() })
	o.declare(ctx, true)
}

// outOfService: the machine is off, and its Node says so, until it is back.
func (o *removal) outOfService(ctx context.Context) {
	o.machine.Down()
	o.taint(ctx, corev1.Taint{Key: v1alpha1.OutOfServiceTaint, Effect: corev1.TaintEffectNoExecute})
	o.undo = append(o.undo, func() {
		o.taint(context.WithoutCancel(ctx))
		o.machine.Up()
	})
	o.declare(ctx, false)
}

func (o *removal) taint(ctx context.Context, taints ...corev1.Taint) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = world.Persist(ctx, func(ctx context.Context) error {
		var n corev1.Node
		if err := o.Admin.Get(ctx, types.NamespacedName{Name: o.machine.Name}, &n); err != nil {
			return err
		}
		n.Spec.Taints = taints
		return o.Admin.Update(ctx, &n)
	})
}

// nodeGone: the machine is off and its Node is deleted; it comes back as
// another Node of that name.
func (o *removal) nodeGone(ctx context.Context) {
	o.machine.Down()
	_ = world.Persist(ctx, o.machine.Unregister)
	o.silent = true
	o.undo = append(o.undo, func() {
		o.silent = false
		again, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err := world.Persist(again, func(ctx context.Context) error {
			if err := o.machine.Unregister(ctx); err != nil {
				return err
			}
			return o.machine.Register(ctx)
		})
		if err != nil {
			o.Journal.Say("%s cannot be registered again: %v", o.machine.Name, err)
		}
		o.machine.Up()
	})
}

// reimaged: the machine is made anew under its old name, and nobody says so.
func (o *removal) reimaged(context.Context) {
	o.silent = true
	o.machine.Down()
	if err := o.machine.Wipe(); err != nil {
		o.Journal.Say("%v", err)
	}
	if err := o.machine.PowerCut(); err != nil {
		o.Journal.Say("%s: cutting the power: %v", o.machine.Name, err)
	}
	o.machine.Up()
}
