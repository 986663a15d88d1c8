// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"fmt"
	"slices"
	"time"
)

// hold is why a removal waits. nil: it does not.
type hold struct {
	reason, message string
	stalled         bool
	until           time.Duration
}

func holds(reason string, until time.Duration, format string, args ...any) *hold {
	return &hold{reason: reason, message: fmt.Sprintf(format, args...), until: until}
}

func stalled(reason, format string, args ...any) *hold {
	h := holds(reason, 0, format, args...)
	h.stalled = true
	return h
}

// removals takes each peer's removal one step further:
// Active → Fencing → Transferring → Removed, each arrow one compare-and-swap,
// made only when the one before is there to be read.
func (d *decider) removals() {
	for _, p := range d.byName() {
		if h := d.remove(p); h != nil {
			d.hold(p, h)
		}
	}
}

// hold reports the wait of a peer's removal, on the Peer and on what declared it.
func (d *decider) hold(p *Peer, h *hold) {
	w := Wait{Kind: kindPeer, Name: p.Name, Reason: h.reason, Message: h.message, Stalled: h.stalled, Until: h.until}
	d.out.Waits = append(d.out.Waits, w)
	if p.Removal != nil && p.Removal.Reason == Declared {
		w.Kind = kindRemoval
		d.out.Waits = append(d.out.Waits, w)
	}
	if h.until > 0 {
		d.recheck(h.until)
	}
}

// remove is the runbook of a removal. It returns the first wait.
func (d *decider) remove(p *Peer) *hold {
	switch {
	case p.Phase == Removed:
		d.dismiss(p)
		return nil
	case p.Phase == Transferring:
		return d.transferring(p)
	case p.Removal == nil && p.Phase == Fencing:
		return d.enter(p, Active, nil)
	case p.Removal == nil:
		d.holdOn(p)
		return nil
	case p.Phase != Fencing:
		return d.enter(p, Fencing, nil)
	}
	return d.fencing(p)
}

// holdOn sees to it that a Peer cannot go before its ranges have.
func (d *decider) holdOn(p *Peer) {
	if !p.Finalizer && !p.Deleting {
		after := *p
		after.Finalizer = true
		d.write(UpdatePeer{*p, after})
	}
}

func (d *decider) fencing(p *Peer) *hold {
	heir, heirWait := d.heir(p)
	evidence, wait := d.evidence(p)
	switch {
	case heirWait != nil:
		return heirWait
	case wait != nil:
		return wait
	}
	if h := d.sealed(p, evidence); h != nil {
		return h
	}
	if h := d.inherits(p); h != nil {
		return h
	}
	res := &Result{Evidence: evidence, Heir: heir}
	for _, r := range d.owned[p.UID] {
		res.Ranges++
		res.Addresses += size(r.CIDR)
	}
	return d.enter(p, Transferring, res)
}

func (d *decider) transferring(p *Peer) *hold {
	if h := d.cutOffByAll(Ref{p.Name, p.UID}); h != nil {
		return h
	}
	if d.unsettled != "" {
		return holds("AwaitingTerm", 0, "%s", d.unsettled)
	}
	if len(d.owned[p.UID]) > 0 || !d.cfg.on(ruleRemovedEmpty) {
		d.move(Ref{p.Name, p.UID}, d.fixedHeir(p))
		if d.cfg.on(ruleRemovedEmpty) {
			return holds("Moving", 0, "moving %d ranges", len(d.owned[p.UID]))
		}
	}
	return d.complete(p)
}

// enter changes the phase.
func (d *decider) enter(p *Peer, phase Phase, res *Result) *hold {
	after := *p
	after.Phase = phase
	if res != nil {
		after.Result = res
	}
	i, ok := d.write(UpdatePeerStatus{*p, after})
	if ok && phase == Transferring {
		to := "their pools"
		if res.Heir != (Ref{}) {
			to = res.Heir.Name
		}
		d.event(i, p.Object, kindPeer, EventFenced, "%s: %d addresses go to %s once every peer has cut %s off", res.Evidence, res.Addresses, to, p.Name)
	}
	return nil
}

// complete ends a removal that has nothing left to move.
func (d *decider) complete(p *Peer) *hold {
	if h := d.inherits(p); h != nil {
		return h
	}
	after := *p
	after.Phase = Removed
	res := Result{}
	if p.Result != nil {
		res = *p.Result
	}
	after.Result = &res
	i, ok := d.write(UpdatePeerStatus{*p, after})
	if !ok {
		return nil
	}
	said := fmt.Sprintf("%d IPs of %s returned to their pools", res.Addresses, p.Name)
	if res.Heir != (Ref{}) {
		said = fmt.Sprintf("%d IPs taken over from %s", res.Addresses, p.Name)
		d.event(i, Object{Name: res.Heir.Name, UID: res.Heir.UID}, kindPeer, EventTakenOver, "%s", said)
	}
	if exempt := d.exempt(p.UID); len(exempt) > 0 {
		said += fmt.Sprintf(" (not waited for, their leases being sealed: %s)", enumerate(exempt))
	}
	d.event(i, p.Object, kindPeer, EventRemoved, "%s", said)
	if p.Removal != nil && p.Removal.Reason == Declared {
		d.event(i, Object{Name: p.Name, UID: p.Removal.RemovalUID}, kindRemoval, EventRemoved, "%s", said)
	}
	return nil
}

// inherits waits for the removal that has made p the heir: what comes to p
// goes on with the rest. Heirs cannot form a circle: each was Active, by one
// list, after the one before had begun to go.
func (d *decider) inherits(p *Peer) *hold {
	if from := d.leaves[p.UID]; from != nil && from != p {
		return holds("AwaitingInheritance", 0, "waiting for %s's removal, whose ranges come to %s first", from.Name, p.Name)
	}
	return nil
}

// dismiss deletes the Peer once nobody resumes it: its agent has acknowledged,
// or another instance waits, or its Node is gone. Whoever declared the removal
// must have been told before.
func (d *decider) dismiss(p *Peer) {
	if len(d.owned[p.UID]) > 0 {
		return // a late grant: see orphans
	}
	if r := d.declared[p.Name]; r != nil && r.binds(p) && !r.Done {
		return
	}
	if d.inherits(p) != nil {
		return
	}
	node := d.nodes[p.Name]
	gone := node == nil || p.NodeUID != "" && node.UID != p.NodeUID
	if !gone && p.Report.Contender == "" && !d.heardOf(p) {
		return
	}
	switch {
	case !p.Deleting:
		d.write(DeletePeer{*p})
	case p.Finalizer:
		after := *p
		after.Finalizer = false
		d.write(UpdatePeer{*p, after})
	}
}

// heardOf: the agent has acknowledged this removal. Marking the Peer for
// deletion is a generation of its own, in which no removal begins.
func (d *decider) heardOf(p *Peer) bool {
	asked := p.Generation
	if p.Deleting {
		asked--
	}
	return p.Report.FencedGeneration > 0 && p.Report.FencedGeneration >= asked
}

// fixedHeir is to whom p's ranges go, which Transferring has fixed.
func (d *decider) fixedHeir(p *Peer) Ref {
	if !d.cfg.on(ruleHeirFixed) {
		heir, _ := d.heir(p)
		return heir
	}
	if p.Result == nil {
		return Ref{}
	}
	return p.Result.Heir
}

// heir is who is to take over, or why nobody can yet.
func (d *decider) heir(p *Peer) (Ref, *hold) {
	name := p.Removal.Heir
	if name == "" {
		return Ref{}, nil
	}
	h := d.peers[name]
	if h != nil && !d.cfg.on(ruleHeirReady) {
		return Ref{h.Name, h.UID}, nil
	}
	if why := d.heirMissing(p, h, name); why != nil {
		return Ref{}, why
	}
	return Ref{h.Name, h.UID}, nil
}

func (d *decider) heirMissing(p, h *Peer, name string) *hold {
	const remedy = "; or delete the PeerRemoval (this cancels) and declare another heir"
	switch {
	case h == nil && d.lastButFor(p):
		return stalled("LastPeer", "%s is the last peer: there is no heir %s, and none can be ready; delete the PeerRemoval and declare it without an heir, and the ranges return to their pools", p.Name, name)
	case h == nil:
		return stalled("HeirUnknown", "there is no peer %s: waiting for it to join%s", name, remedy)
	case h == p:
		return stalled("HeirIsItself", "%s cannot be its own heir: delete the PeerRemoval and declare another heir", name)
	case h.Removal != nil || !h.active():
		if circle := d.circle(p); circle != "" {
			return stalled("HeirsInCircle", "the heirs form a circle (%s): delete one of their PeerRemovals", circle)
		}
		return stalled("HeirBeingRemoved", "heir %s is being removed itself: waiting for that to be cancelled%s", name, remedy)
	case d.keptOut(h) != nil:
		return stalled("HeirBeingRemoved", "heir %s is under removal itself, by PeerRemoval %s: waiting for that to be deleted%s", name, name, remedy)
	case h.Deleting:
		return stalled("HeirBeingRemoved", "heir %s is being deleted%s", name, remedy)
	case !h.Report.Present || !h.Finalizer:
		return stalled("HeirNotReady", "heir %s has not joined completely: waiting for its agent's first report%s", name, remedy)
	case h.Report.Leaving:
		return stalled("HeirBeingRemoved", "heir %s is about to leave the network%s", name, remedy)
	case h.Report.Contender != "":
		return stalled("HeirNotReady", "another instance contends for heir %s's place: waiting for one of them to go%s", name, remedy)
	case !d.live(h):
		return stalled("HeirNotLive", "heir %s has no live lease: waiting for its agent to renew it%s", name, remedy)
	}
	return nil
}

// lastButFor: no peer but p is there, or all others are being removed too.
func (d *decider) lastButFor(p *Peer) bool {
	for i := range d.s.Peers {
		if q := &d.s.Peers[i]; q != p && q.active() && q.Removal == nil {
			return false
		}
	}
	return true
}

// circle names the peers whose heirs lead from p back to p.
func (d *decider) circle(p *Peer) string {
	path := p.Name
	seen := []*Peer{p}
	for q := p; q.Removal != nil && q.Removal.Heir != ""; {
		next := d.peers[q.Removal.Heir]
		if next == nil {
			return ""
		}
		path += " → " + next.Name
		if next == p {
			return path
		}
		if slices.Contains(seen, next) {
			return ""
		}
		seen = append(seen, next)
		q = next
	}
	return ""
}
