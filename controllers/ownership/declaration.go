// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import "slices"

// byName are the peers in order of their names: what is decided does not hang
// on the order in which they were listed.
func (d *decider) byName() []*Peer {
	out := make([]*Peer, 0, len(d.s.Peers))
	for i := range d.s.Peers {
		out = append(out, &d.s.Peers[i])
	}
	slices.SortFunc(out, func(a, b *Peer) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// declarations binds each PeerRemoval to the Peer it speaks of, and lets go of
// those that were cancelled.
func (d *decider) declarations() {
	for i := range d.s.Removals {
		r := &d.s.Removals[i]
		p := d.peers[r.Name]
		switch {
		case r.Deleting:
			d.cancel(r, p)
		case r.Done:
			if p != nil && p.Removal == nil && p.active() && r.speaksOf(p) {
				d.wait(kindPeer, p.Name, "NameUnderRemoval", 0, "PeerRemoval %s keeps this node out of the network: delete it, and the node joins anew", r.Name)
			}
		case !r.Finalizer:
			after := *r
			after.Finalizer = true
			d.write(UpdateDeclaration{*r, after})
		case p != nil && r.speaksOf(p):
			d.bind(r, p)
		}
	}
	for _, p := range d.byName() {
		d.dropUndeclared(p)
	}
}

// speaksOf: a declaration that names an instance is about that one alone.
func (r *Declaration) speaksOf(p *Peer) bool {
	return r.Name == p.Name && (r.InstanceID == "" || r.InstanceID == p.InstanceID)
}

func (r *Declaration) binds(p *Peer) bool {
	return p != nil && p.Removal != nil && p.Removal.Reason == Declared && p.Removal.RemovalUID == r.UID
}

// keptOut is the declaration that keeps p's name out of the network, done or not.
func (d *decider) keptOut(p *Peer) *Declaration {
	if r := d.declared[p.Name]; r != nil && r.speaksOf(p) {
		return r
	}
	return nil
}

// bind makes the declaration part of the Peer, by one compare-and-swap.
func (d *decider) bind(r *Declaration, p *Peer) {
	if !p.active() && p.Phase != Fencing {
		// Until then, what that removal waits for is said.
		if p.Phase == Removed && !r.binds(p) {
			d.wait(kindRemoval, r.Name, "AwaitingFormer", 0,
				"waiting for the former %s (%s) to go, which is removed already: its agent has to acknowledge that, or its Node to be deleted", p.Name, p.UID)
		}
		return
	}
	after := *p
	switch {
	case p.Removal == nil && p.active():
		after.Finalizer = true
		after.Removal = &Removal{Reason: Declared, RemovalUID: r.UID, Heir: r.Heir, AssertDown: r.AssertDown}
		if i, ok := d.write(UpdatePeer{*p, after}); ok {
			to := "without an heir: its ranges return to their pools"
			if r.Heir != "" {
				to = "heir " + r.Heir
			}
			d.event(i, p.Object, kindPeer, EventRemovalAccepted, "PeerRemoval %s, %s", r.Name, to)
			d.event(i, r.Object, kindRemoval, EventRemovalAccepted, "bound to peer %s (%s), %s", p.Name, p.UID, to)
		}
	case p.Removal != nil && p.Removal.Reason != Declared:
		// A person's word replaces the controller's own decision.
		after.Removal = nil
		d.write(UpdatePeer{*p, after})
	case r.binds(p) && r.AssertDown && !p.Removal.AssertDown:
		removal := *p.Removal
		removal.AssertDown = true
		after.Removal = &removal
		d.write(UpdatePeer{*p, after})
	}
}

// cancel takes a deleted declaration off the Peer while that is still
// possible, and lets the declaration go once its verdict is known.
func (d *decider) cancel(r *Declaration, p *Peer) {
	if r.binds(p) {
		switch p.Phase {
		case Transferring:
			d.wait(kindRemoval, r.Name, "TooLateToCancel", 0, "%s's ranges are moving: deleted once they have", r.Name)
			return
		case Removed:
		default:
			d.cancelRemoval(p, "PeerRemoval "+r.Name+" was deleted")
			return
		}
	}
	if r.Finalizer {
		after := *r
		after.Finalizer = false
		d.write(UpdateDeclaration{*r, after})
	}
}

func (d *decider) cancelRemoval(p *Peer, why string) {
	after := *p
	after.Removal = nil
	if i, ok := d.write(UpdatePeer{*p, after}); ok {
		d.event(i, p.Object, kindPeer, EventRemovalCancelled, "%s: %s stays in the network", why, p.Name)
	}
}

// dropUndeclared cancels a removal whose declaration is gone past its
// finalizer. It was created before the Peer named it, so two observations that
// miss it prove it gone.
func (d *decider) dropUndeclared(p *Peer) {
	if p.Removal == nil || p.Removal.Reason != Declared || !p.active() && p.Phase != Fencing {
		return
	}
	if r := d.declared[p.Name]; r != nil && r.UID == p.Removal.RemovalUID {
		return
	}
	gone, ok := d.m.undeclared[removalKey(p)]
	if !ok || gone.first >= d.m.observations {
		d.recheck(d.now)
		return
	}
	d.cancelRemoval(p, "its PeerRemoval is gone")
}
