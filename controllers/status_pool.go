// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"math"
	"math/big"
	"net/netip"

	"go4.org/netipx"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// Reasons of an AddressPool's conditions.
const (
	ReasonAccepted      = "Accepted"
	ReasonOverlaps      = "Overlaps"
	ReasonMalformed     = "Malformed"
	ReasonVerifying     = "Verifying"
	ReasonDividing      = "Dividing"
	ReasonDeleting      = "Deleting"
	ReasonSpaceLeft     = "SpaceLeft"
	ReasonNoSpaceLeft   = "NoSpaceLeft"
	ReasonTooManyAtOnce = "TooManyAtOnce"
	ReasonFrozen        = "Frozen"
)

// size is the number of addresses of a prefix.
func size(p netip.Prefix) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
}

// poolUse is one pool, counted.
type poolUse struct {
	total, assigned, used, reserved, free *big.Int
	// idle is what owners could give back: whole ranges that no pod has an
	// address in.
	idle *big.Int
	// room: a range of the first size still fits.
	room bool
}

func (d *Verdict) countPool(p *ownership.Pool) poolUse {
	u := poolUse{total: size(p.CIDR), assigned: new(big.Int), used: new(big.Int), reserved: new(big.Int), free: size(p.CIDR), idle: new(big.Int)}
	// Blocks of the first size that there are, and that ranges are in.
	blocks, touched := math.Exp2(float64(p.First-p.CIDR.Bits())), 0.0
	for i := range d.view.Ranges {
		r := &d.view.Ranges[i]
		if !r.CIDR.Overlaps(p.CIDR) {
			continue
		}
		touched += math.Exp2(float64(max(0, p.First-r.CIDR.Bits())))
		u.free.Sub(u.free, size(r.CIDR))
		if r.Owner != (ownership.Ref{}) {
			u.assigned.Add(u.assigned, size(r.CIDR))
			u.used.Add(u.used, big.NewInt(r.Used))
			if r.Used == 0 && len(r.Reserved) == 0 {
				u.idle.Add(u.idle, size(r.CIDR))
			}
		}
		u.reserved.Add(u.reserved, big.NewInt(int64(len(r.Reserved))))
	}
	if u.free.Sign() < 0 {
		u.free.SetInt64(0)
	}
	u.room = touched < blocks || d.hasRoom(p)
	return u
}

// hasRoom looks for a free block of a pool's first size, which takes a while.
func (d *Verdict) hasRoom(p *ownership.Pool) bool {
	var space netipx.IPSetBuilder
	space.AddPrefix(p.CIDR)
	for i := range d.view.Ranges {
		space.RemovePrefix(d.view.Ranges[i].CIDR)
	}
	set, err := space.IPSet()
	if err != nil {
		return false
	}
	_, _, found := set.RemoveFreePrefix(uint8(p.First))
	return found
}

// PoolStatus is what an AddressPool's status ought to be. Claimed and Accepted
// being True are written with the decision they belong to.
func (d *Verdict) PoolStatus(o *v1alpha1.AddressPool, p *ownership.Pool) (v1alpha1.AddressPoolStatus, poolUse) {
	out := *o.Status.DeepCopy()
	out.ObservedGeneration = o.Generation
	var use poolUse
	var states []state
	if p == nil {
		message := d.malformedMessage(kindPool, o.Name)
		states = []state{
			{v1alpha1.ConditionAccepted, false, ReasonMalformed, message},
			{v1alpha1.ConditionReady, false, ReasonMalformed, message},
		}
		states = append(states, progress(ownership.Wait{Reason: ReasonMalformed, Message: message, Stalled: true}, true)...)
	} else {
		use = d.countPool(p)
		out.Addresses = &v1alpha1.AddressCounts{
			Total: use.total.String(), Assigned: use.assigned.String(), Used: use.used.String(),
			Reserved: use.reserved.String(), Free: use.free.String(),
		}
		states = d.poolStates(p, use)
	}
	d.setConditions(&out.Conditions, o.Generation, states...)
	return out, use
}

func (d *Verdict) malformedMessage(kind, name string) string {
	for _, m := range d.view.Malformed {
		if m.Kind == kind && m.Name == name {
			return m.Err.Error()
		}
	}
	return "cannot be read"
}

func (d *Verdict) poolStates(p *ownership.Pool, use poolUse) []state {
	states := d.acceptedStates(p)
	if !p.Accepted {
		return states
	}
	if use.room {
		states = append(states, state{v1alpha1.ConditionExhausted, false, ReasonSpaceLeft, ""})
	} else {
		states = append(states, state{v1alpha1.ConditionExhausted, true, ReasonNoSpaceLeft,
			fmt.Sprintf("no free space for another range of /%d: peers get more only from what others give back; add a pool, or remove peers", p.First)})
	}
	for _, held := range d.held {
		if held == p.Name {
			states = append(states, state{v1alpha1.ConditionRemovalsHeld, true, ReasonTooManyAtOnce,
				"too many nodes vanished at once: no peer is removed until they are back or a person annotates this pool with " + v1alpha1.ReleaseAnnotation})
		}
	}
	return states
}

// acceptedStates says whether the pool is divided, and if not, why not.
func (d *Verdict) acceptedStates(p *ownership.Pool) []state {
	w, waiting := d.wait(kindPool, p.Name)
	if err := d.view.Frozen(); err != nil {
		w, waiting = ownership.Wait{Reason: ReasonFrozen, Message: err.Error(), Stalled: true}, true
	}
	if p.Accepted {
		accepted := state{v1alpha1.ConditionAccepted, true, ReasonAccepted, "overlaps no other pool"}
		if p.Deleting {
			if !waiting {
				w = ownership.Wait{Reason: ReasonDeleting, Message: "waiting for the last range of this pool to be given back"}
			}
			return append([]state{accepted, {v1alpha1.ConditionReady, false, w.Reason, w.Message}}, progress(w, true)...)
		}
		ready := state{v1alpha1.ConditionReady, !w.Stalled, ReasonDividing, w.Message}
		if w.Stalled {
			ready.reason = w.Reason
		}
		return append([]state{accepted, ready}, progress(w, false)...)
	}
	if other := d.overlapping(p); other != nil && !w.Stalled {
		w = ownership.Wait{Reason: ReasonOverlaps, Stalled: true, Message: fmt.Sprintf(
			"%s overlaps pool %s (%s), which was accepted before: delete this pool and make one that overlaps none", p.CIDR, other.Name, other.CIDR)}
	} else if !waiting {
		w = ownership.Wait{Reason: ReasonVerifying, Message: "looking for pools that overlap"}
	}
	return append([]state{
		{v1alpha1.ConditionAccepted, false, w.Reason, w.Message},
		{v1alpha1.ConditionReady, false, w.Reason, w.Message},
	}, progress(w, true)...)
}

// overlapping is an accepted pool that p overlaps, if there is one.
func (d *Verdict) overlapping(p *ownership.Pool) *ownership.Pool {
	for i := range d.view.Pools {
		if q := &d.view.Pools[i]; q.Name != p.Name && q.Accepted && q.CIDR.Overlaps(p.CIDR) {
			return q
		}
	}
	return nil
}

// comparePool looks at what PoolStatus sets, which is everything.
func comparePool(was, want *v1alpha1.AddressPoolStatus) change {
	c := compareConditions(was.Conditions, want.Conditions)
	var a, b v1alpha1.AddressCounts
	if was.Addresses != nil {
		a = *was.Addresses
	}
	if want.Addresses != nil {
		b = *want.Addresses
	}
	if a.Used != b.Used {
		a.Used = b.Used
		c = max(c, cosmetic)
	}
	if was.ObservedGeneration != want.ObservedGeneration || a != b {
		return material
	}
	return c
}
