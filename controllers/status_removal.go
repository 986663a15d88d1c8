// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// Reasons of a PeerRemoval's Ready condition.
const (
	ReasonPending = "Pending"
)

// RemovalStatus is what a PeerRemoval's status ought to be: a mirror of what
// becomes of the Peer it is bound to. Removed is final, and outlives the Peer;
// it may be concluded from a consistent view only, since a cache may not know
// a Peer that is there.
func (d *Verdict) RemovalStatus(o *v1alpha1.PeerRemoval) v1alpha1.PeerRemovalStatus {
	out := *o.Status.DeepCopy()
	out.ObservedGeneration = o.Generation
	peer := d.peers[o.Name]
	switch {
	case o.Status.Phase == v1alpha1.RemovalRemoved:
	case peer != nil && peer.Removal != nil && peer.Removal.RemovalUID == string(o.UID):
		d.mirror(&out, d.view.peers[o.Name], peer)
	case peer == nil && o.Status.Phase == v1alpha1.RemovalTransferring:
		// The Peer was deleted past its finalizer: what was seen last stands.
		out.Phase = v1alpha1.RemovalRemoved
		out.CompletionTime = &d.now
	case peer == nil, o.Spec.InstanceID != "" && o.Spec.InstanceID != peer.InstanceID:
		out = v1alpha1.PeerRemovalStatus{
			ObservedGeneration: o.Generation,
			Conditions:         out.Conditions,
			Phase:              v1alpha1.RemovalRemoved,
			PeerUID:            out.PeerUID,
			Evidence:           v1alpha1.EvidenceNeverJoined,
			FencedTime:         &d.now,
			CompletionTime:     &d.now,
		}
	default:
		out.Phase = v1alpha1.RemovalPending
		out.PeerUID = ""
	}
	d.setConditions(&out.Conditions, o.Generation, d.removalStates(o, &out)...)
	return out
}

func (d *Verdict) mirror(out *v1alpha1.PeerRemovalStatus, o *v1alpha1.Peer, p *ownership.Peer) {
	out.PeerUID = types.UID(p.UID)
	out.Phase = v1alpha1.RemovalPhase(phaseOf(p))
	out.Heir = o.Spec.Removal.Heir
	out.Evidence, out.Ranges, out.Addresses, out.FencedTime, out.CompletionTime = "", 0, 0, nil, nil
	if out.Phase == v1alpha1.RemovalFencing {
		return
	}
	if r := o.Status.Removal; r != nil {
		out.Evidence, out.FencedTime, out.CompletionTime = r.Evidence, r.FencedTime, r.CompletionTime
		out.Ranges, out.Addresses = r.Ranges, r.Addresses
		out.Heir = ""
		if r.Heir != nil {
			out.Heir = r.Heir.Name
		}
	}
}

func (d *Verdict) removalStates(o *v1alpha1.PeerRemoval, s *v1alpha1.PeerRemovalStatus) []state {
	if s.Phase == v1alpha1.RemovalRemoved {
		return []state{{v1alpha1.ConditionReady, true, ReasonRemoved, RemovedSentence(o.Name, s)}}
	}
	w, ok := d.wait(kindRemoval, o.Name)
	if !ok {
		w, ok = d.wait(kindPeer, o.Name)
	}
	if !ok {
		w = ownership.Wait{Reason: string(s.Phase), Message: d.removalMessage(o.Name, s.Phase)}
	}
	ready := state{v1alpha1.ConditionReady, false, w.Reason, w.Message}
	return append([]state{ready}, progress(w, true)...)
}

func (d *Verdict) removalMessage(name string, phase v1alpha1.RemovalPhase) string {
	if p := d.peers[name]; p != nil && phase != v1alpha1.RemovalPending {
		return defaultMessage(p)
	}
	return "not accepted yet"
}

// RemovedSentence says what a finished removal came to.
func RemovedSentence(peer string, s *v1alpha1.PeerRemovalStatus) string {
	switch {
	case s.Evidence == v1alpha1.EvidenceNeverJoined:
		return peer + " is not in the network: nothing to take over"
	case s.Heir == "":
		return fmt.Sprintf("%d IPs of %s went back to their pools", s.Addresses, peer)
	}
	return TakenOver(s.Addresses, peer)
}

func compareRemoval(was, want *v1alpha1.PeerRemovalStatus) change {
	a, b := *was, *want
	a.Conditions, b.Conditions = nil, nil
	if !equality.Semantic.DeepEqual(a, b) {
		return material
	}
	return compareConditions(was.Conditions, want.Conditions)
}
