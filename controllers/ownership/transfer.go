// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// mostReserved is how many reservations the API takes in one range.
	mostReserved = 4096
	// reservationGrace is how long a pod must have been missing before its
	// address is let go: a cache may not know it yet.
	reservationGrace = 5 * time.Second
)

// move gives the ranges of a fenced incarnation to another, or to nobody.
// Whoever calls it has passed the barrier.
func (d *decider) move(from, to Ref) {
	if !d.s.PodsListed[from.Name] {
		d.out.ListPods = append(d.out.ListPods, from.Name)
		return
	}
	for _, r := range d.owned[from.UID] {
		after := withOwner(d.cfg, r, to)
		if d.cfg.on(ruleReserve) {
			after.Reserved = d.reserve(r)
		}
		if len(after.Reserved) > mostReserved {
			d.wait(kindPeer, from.Name, "TooManyPods", 0, "range %s cannot move: %d pods carry addresses in it, and %d can be reserved; delete pods of node %s", r.CIDR, len(after.Reserved), mostReserved, from.Name)
			continue
		}
		d.write(UpdateRange{*r, after})
	}
}

// reserve adds every address in r that a pod carries.
func (d *decider) reserve(r *Range) []Reservation {
	out := slices.Clone(r.Reserved)
	for _, q := range d.podsIn(r.CIDR) {
		same := func(res Reservation) bool { return res.Address == q.addr }
		if !slices.ContainsFunc(out, same) {
			out = append(out, Reservation{q.addr, q.pod.UID})
		}
	}
	slices.SortFunc(out, func(a, b Reservation) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.PodUID, b.PodUID))
	})
	return out
}

// orphans moves what a removed incarnation was granted too late, by a
// controller that had not heard, and what is owned by one that no Peer has.
func (d *decider) orphans() {
	if d.unsettled != "" || !d.cfg.on(ruleOrphans) {
		return
	}
	uids := make([]string, 0)
	for uid := range d.owned {
		p := d.byUID[uid]
		if p == nil && !d.cfg.on(ruleOrphanUID) {
			p = d.peers[d.owned[uid][0].Owner.Name]
		}
		if p == nil || p.Phase == Removed {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	for _, uid := range uids {
		owner := d.owned[uid][0].Owner
		if p := d.byUID[uid]; p != nil {
			if h := d.cutOffByAll(owner); h != nil {
				d.hold(p, h)
				continue
			}
			d.move(owner, d.fixedHeir(p))
			continue
		}
		if d.fencedOrphan(owner) {
			if h := d.cutOffByAll(owner); h == nil {
				d.move(owner, Ref{})
			}
		}
	}
}

// fencedOrphan: the incarnation that no Peer has can renew no more. Nobody is
// there to be asked, so its name's Lease is watched the full time. If another
// incarnation holds it, that one took it from a sealed one; but the last renewal
// before that may be as young as the taking, so the time counts from when the
// other was first seen to hold it, and not only from when the Peer was missed.
func (d *decider) fencedOrphan(owner Ref) bool {
	l := d.leases[owner.Name]
	if l != nil && l.sealed() && slices.Contains(l.SealedFor, owner.UID) {
		return true
	}
	if d.created(owner.Name) {
		return false
	}
	missed, ok := d.m.barriers[owner.UID]
	if !ok {
		missed.since = d.now
	}
	if l != nil && !l.sealed() && l.holderUID() != owner.UID {
		since := d.now
		if w, ok := d.m.holders[owner.Name]; ok && w.uid == l.UID && w.version == l.holderUID() {
			since = w.since
		}
		if !d.cfg.on(ruleOrphanHolder) {
			since = missed.since
		}
		until := max(missed.since, since) + d.patience(owner.Name)
		d.recheck(until)
		return until <= d.now
	}
	until := d.runsOut(owner.Name, missed.since)
	if until > d.now {
		d.recheck(until)
		return false
	}
	d.seal(owner.Name, owner.UID)
	return false
}

// tidyRanges lets go of what is no longer needed: reservations, the name of
// the owner before, and ranges that nobody owns.
func (d *decider) tidyRanges() {
	for _, r := range d.ranges {
		if r.Deleting || r.Epoch == 0 {
			continue
		}
		after := *r
		after.Reserved = d.stillReserved(r)
		if r.Owner != (Ref{}) && r.ObservedEpoch == r.Epoch {
			after.PreviousOwner = Ref{}
		}
		switch {
		case len(after.Reserved) != len(r.Reserved) || after.PreviousOwner != r.PreviousOwner:
			d.write(UpdateRange{*r, after})
		case r.Owner == (Ref{}) && (len(r.Reserved) == 0 || !d.cfg.on(ruleReservedStay)) && d.unsettled == "":
			d.write(DeleteRange{*r})
		}
	}
}

func (d *decider) stillReserved(r *Range) []Reservation {
	if len(r.Reserved) == 0 {
		return nil
	}
	var out []Reservation
	for _, res := range r.Reserved {
		gone, ok := d.m.unreserved[reserved{r.Name, res}]
		until := gone.since + reservationGrace
		if ok && until <= d.now {
			continue
		}
		if ok {
			d.recheck(until)
		}
		out = append(out, res)
	}
	return out
}

func (r Reservation) String() string { return fmt.Sprintf("%s (pod %s)", r.Address, r.PodUID) }
