// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// Reasons of a Peer's Ready condition while no removal is under way.
const (
	ReasonServing          = "Serving"
	ReasonDeclaredOut      = "DeclaredOut"
	ReasonNoReport         = "NoReport"
	ReasonSuspended        = "Suspended"
	ReasonLeaseNotTaken    = "LeaseNotTaken"
	ReasonLeaseSealed      = "LeaseSealed"
	ReasonLeaseExpired     = "LeaseExpired"
	ReasonUnderlayRejected = "UnderlayRejected"
	ReasonWaitingForRange  = "WaitingForRange"
	ReasonNotFenced        = "NotFenced"
	ReasonRemoved          = "Removed"
)

// TakenOver is the sentence that says a removal is done.
func TakenOver(addresses int64, peer string) string {
	return fmt.Sprintf("%d IPs taken over from %s", addresses, peer)
}

// PeerStatus is what the controller's descriptive part of a Peer's status
// ought to be. Phase, removal and underlay are written with the decision they
// belong to, and left as they are here; so is the agent's report. What is left
// is shared with o.
func (d *Verdict) PeerStatus(o *v1alpha1.Peer, p *ownership.Peer) v1alpha1.PeerStatus {
	out := o.Status
	out.Conditions = slices.Clone(out.Conditions)
	out.ObservedGeneration = o.Generation
	if out.Phase == "" {
		out.Phase = v1alpha1.PhaseActive
	}
	h := d.owned[ownership.Ref{Name: p.Name, UID: p.UID}]
	out.Ranges, out.Addresses, out.Used = h.ranges, h.addresses, h.used
	d.setConditions(&out.Conditions, o.Generation, d.peerStates(o, p, h)...)
	return out
}

func (d *Verdict) peerStates(o *v1alpha1.Peer, p *ownership.Peer, h holding) []state {
	if p.Removal != nil || p.Phase == ownership.Transferring || p.Phase == ownership.Removed {
		return d.leavingStates(p)
	}
	ready := d.servingState(o, p, h)
	w, waiting := d.wait(kindPeer, p.Name)
	if !waiting { // it is not the controller that waits: say what Ready says
		w.Reason, w.Message = ready.reason, ready.message
	}
	return append([]state{ready}, progress(w, !ready.yes)...)
}

// servingState is Ready for a peer that stays: the first thing that keeps it
// from serving, in the order in which a person would look.
func (d *Verdict) servingState(o *v1alpha1.Peer, p *ownership.Peer, h holding) state {
	not := func(reason, format string, args ...any) state {
		return state{v1alpha1.ConditionReady, false, reason, fmt.Sprintf(format, args...)}
	}
	w, waiting := d.wait(kindPeer, p.Name)
	if r, ok := d.view.removals[p.Name]; ok && (r.Spec.InstanceID == "" || r.Spec.InstanceID == p.InstanceID) {
		if waiting {
			return not(w.Reason, "%s", w.Message)
		}
		return not(ReasonDeclaredOut, "declared out of the network: delete PeerRemoval %s to let it join", p.Name)
	}
	if !p.Report.Present {
		return not(ReasonNoReport, "its agent has not reported yet")
	}
	if s := o.Status.Agent.Suspended; s != "" {
		return not(ReasonSuspended, "%s", s)
	}
	if s, bad := d.leaseState(p); bad {
		return s
	}
	if missing := rejected(p); len(missing) > 0 {
		return not(ReasonUnderlayRejected, "underlay address %s is not accepted: the Node does not have it, or another peer reported it first", strings.Join(missing, ", "))
	}
	if h.ranges == 0 {
		if waiting {
			return not(w.Reason, "%s", w.Message)
		}
		return not(ReasonWaitingForRange, "waiting for its first range")
	}
	return state{v1alpha1.ConditionReady, true, ReasonServing, w.Message}
}

// leaseState says why a peer without a good Lease may not allocate.
func (d *Verdict) leaseState(p *ownership.Peer) (state, bool) {
	not := func(reason, format string, args ...any) (state, bool) {
		return state{v1alpha1.ConditionReady, false, reason, fmt.Sprintf(format, args...)}, true
	}
	l := d.leass[p.Name]
	if l == nil {
		return not(ReasonLeaseNotTaken, "its agent has not taken its lease yet")
	}
	if l.Holder == v1alpha1.SealedHolder {
		return not(ReasonLeaseSealed, "its lease ran out and was sealed: it allocates nothing until its agent takes the lease again")
	}
	if uid, _, _ := strings.Cut(l.Holder, "/"); uid != p.UID {
		return not(ReasonLeaseNotTaken, "its lease is still another incarnation's: its agent has not taken it yet")
	}
	if silent := d.silent(p.Name); l.Duration > 0 && silent > l.Duration {
		return not(ReasonLeaseExpired, "its lease ran out: its agent is down, or cannot reach the API server; pods keep their addresses, new ones get none")
	}
	return state{}, false
}

// rejected are the reported underlay addresses that were not accepted.
func rejected(p *ownership.Peer) (out []string) {
	for _, a := range p.Report.Underlay {
		if !slices.Contains(p.Underlay, a) {
			out = append(out, a.String())
		}
	}
	return out
}

// leavingStates are the conditions of a peer that is being removed, or was.
func (d *Verdict) leavingStates(p *ownership.Peer) []state {
	w, ok := d.wait(kindPeer, p.Name)
	if !ok {
		if w, ok = d.wait(kindRemoval, p.Name); !ok {
			w = ownership.Wait{Reason: string(phaseOf(p)), Message: defaultMessage(p)}
		}
	}
	fenced := state{v1alpha1.ConditionFenced, false, ReasonNotFenced, "no evidence yet that it allocates no more"}
	if p.Result != nil && (p.Phase == ownership.Transferring || p.Phase == ownership.Removed) {
		fenced = state{v1alpha1.ConditionFenced, true, string(p.Result.Evidence), evidenceSentence(p.Result.Evidence)}
	}
	ready := state{v1alpha1.ConditionReady, false, w.Reason, w.Message}
	if p.Phase == ownership.Removed {
		message := handedOver(p)
		if ok && w.Message != "" {
			message += "; " + w.Message
		}
		ready = state{v1alpha1.ConditionReady, false, ReasonRemoved, message}
	}
	return append([]state{ready, fenced}, progress(w, true)...)
}

func phaseOf(p *ownership.Peer) ownership.Phase {
	if p.Phase == "" || p.Phase == ownership.Active {
		return ownership.Fencing
	}
	return p.Phase
}

func defaultMessage(p *ownership.Peer) string {
	switch p.Phase {
	case ownership.Transferring:
		return "its ranges are being handed over"
	case ownership.Removed:
		return ""
	}
	return "gathering evidence that it allocates no more"
}

// handedOver says, from the removed peer's side, where its addresses went.
func handedOver(p *ownership.Peer) string {
	switch {
	case p.Result == nil:
		return "removed"
	case p.Result.Heir.Name == "":
		return fmt.Sprintf("removed: %d IPs went back to their pools", p.Result.Addresses)
	}
	return fmt.Sprintf("removed: %d IPs taken over by %s", p.Result.Addresses, p.Result.Heir.Name)
}

func evidenceSentence(e ownership.Evidence) string {
	switch e {
	case ownership.AgentAcknowledged:
		return "its agent says that it allocates no more"
	case ownership.LeaseExpired:
		return "its lease was watched to run out, and sealed"
	case ownership.NodeOutOfService:
		return "its Node is out of service, and its lease was not renewed"
	case ownership.Asserted:
		return "a person vouched that it is down"
	case ownership.NeverJoined:
		return "it never joined"
	}
	return ""
}

// comparePeer says how urgent it is to write want in the place of was.
// comparePeer looks at what PeerStatus sets, and at nothing else.
func comparePeer(was, want *v1alpha1.PeerStatus) change {
	if was.ObservedGeneration != want.ObservedGeneration || was.Phase != want.Phase ||
		was.Ranges != want.Ranges || was.Addresses != want.Addresses {
		return material
	}
	c := compareConditions(was.Conditions, want.Conditions)
	if was.Used != want.Used {
		c = max(c, cosmetic)
	}
	return c
}

// The longest a countdown or a count may lag behind.
const cosmeticInterval = 10 * time.Second
