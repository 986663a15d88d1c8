// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import "slices"

// vanished begins the removals that nobody declared: of peers whose Node is
// gone, that another instance has superseded, or whose agent leaves.
func (d *decider) vanished() {
	var ready []*Peer
	reasons := map[*Peer]Reason{}
	doomed := 0
	for _, p := range d.byName() {
		if p.Removal != nil {
			if p.Removal.Reason == NodeGone || p.Removal.Reason == Superseded {
				doomed++
			}
			d.stay(p)
			continue
		}
		if !p.active() || d.keptOut(p) != nil {
			continue
		}
		if p.Report.Leaving || p.Deleting {
			d.begin(p, Leaving)
			continue
		}
		reason, now := d.doom(p)
		if reason != "" {
			doomed++
		}
		if now {
			ready, reasons[p] = append(ready, p), reason
		}
	}
	if d.tooMany(doomed) {
		ready = d.heldBack(ready, doomed)
	}
	for _, p := range ready {
		d.begin(p, reasons[p])
	}
}

// stay cancels what the controller began because the agent said that it
// leaves, if it says so no more. Nothing else of its own is cancelled.
func (d *decider) stay(p *Peer) {
	if p.Removal.Reason == Leaving && !p.Report.Leaving && p.Report.Present && !p.Deleting && (p.active() || p.Phase == Fencing) {
		d.cancelRemoval(p, "its agent does not leave any more")
	}
}

// doom says whether p is to go, and whether now.
func (d *decider) doom(p *Peer) (Reason, bool) {
	if p.Report.Contender != "" {
		return Superseded, d.sealedSuperseded(p)
	}
	node := d.nodes[p.Name]
	if node != nil && node.UID != p.NodeUID && d.live(p) && p.Report.NodeUID == node.UID {
		after := *p
		after.NodeUID = node.UID
		d.write(UpdatePeer{*p, after})
		return "", false
	}
	gone, ok := d.m.nodesGone[p.UID]
	if !ok || node != nil && (p.NodeUID == "" || node.UID == p.NodeUID) {
		return "", false
	}
	until := gone.since + d.cfg.GracePeriod
	if d.created(p.Name) {
		return NodeGone, false
	}
	if d.cfg.on(ruleNodeLease) {
		until = max(until, d.runsOut(p.Name, 0))
	}
	if until > d.now {
		d.recheck(until)
	}
	return NodeGone, until <= d.now
}

// sealedSuperseded: the instance that another contends with has fallen silent,
// and its Lease is sealed.
func (d *decider) sealedSuperseded(p *Peer) bool {
	if d.created(p.Name) {
		return false
	}
	if l := d.leases[p.Name]; l != nil && l.sealed() {
		return true
	}
	if until := d.runsOut(p.Name, 0); until > d.now {
		d.recheck(until)
		d.wait(kindPeer, p.Name, "Contended", until, "instance %s contends for this place: waiting for the present one's lease to run out (%s left)", p.Report.Contender, left(until-d.now))
		return false
	}
	d.seal(p.Name, removalMark(p))
	return false
}

func (d *decider) begin(p *Peer, reason Reason) {
	after := *p
	after.Removal = &Removal{Reason: reason}
	after.Finalizer = p.Finalizer || !p.Deleting
	if i, ok := d.write(UpdatePeer{*p, after}); ok {
		why := map[Reason]string{
			NodeGone:   "its Node is gone and its lease has run out",
			Superseded: "another instance runs on its node",
			Leaving:    "its agent leaves the network",
		}[reason]
		d.event(i, p.Object, kindPeer, EventRemovalBegun, "%s: its ranges return to their pools", why)
	}
}

// tooMany: more than a share of all peers, and more than three, would go. The
// count takes in those whose wait is not over and those that are going, so
// that a cluster that vanishes one by one is seen to vanish.
func (d *decider) tooMany(doomed int) bool {
	return d.cfg.on(ruleBreaker) && doomed > 3 && float64(doomed) > d.cfg.MaxRemovals*float64(len(d.s.Peers))
}

// heldBack returns those that a person has released, by the annotation on a
// pool they have ranges of (or, if they have none, on any), and holds the rest.
func (d *decider) heldBack(ready []*Peer, doomed int) []*Peer {
	var free []*Peer
	held := map[string]bool{}
	for _, p := range ready {
		pools := d.poolsOf(p)
		released := false
		for _, name := range pools {
			released = released || d.pools[name] != nil && d.pools[name].Release
		}
		if released {
			free = append(free, p)
			continue
		}
		for _, name := range pools {
			held[name] = true
		}
		d.wait(kindPeer, p.Name, "TooManyAtOnce", 0, "%d of %d peers would be removed at once: none is, until a person looks; if it is right, annotate pool %s with net.selvage.dev/release-removals", doomed, len(d.s.Peers), enumerate(pools))
		d.out.Waits[len(d.out.Waits)-1].Stalled = true
	}
	for name := range held {
		d.out.Held = append(d.out.Held, name)
	}
	slices.Sort(d.out.Held)
	for _, name := range d.out.Held {
		if pool := d.pools[name]; pool != nil {
			d.event(-1, pool.Object, kindPool, EventTooManyAtOnce, "%d of %d peers would be removed at once: none is, until the pool is annotated with net.selvage.dev/release-removals", doomed, len(d.s.Peers))
			d.out.Events[len(d.out.Events)-1].Warning = true
		}
	}
	return free
}

// poolsOf are the pools that p has ranges of, or all if it has none.
func (d *decider) poolsOf(p *Peer) []string {
	var out []string
	for _, r := range d.owned[p.UID] {
		out = append(out, r.Pool)
	}
	if len(out) == 0 {
		for i := range d.s.Pools {
			out = append(out, d.s.Pools[i].Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
