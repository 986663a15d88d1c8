// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// Each function changes, in a copy of the object that was read, exactly what
// its write is about: whatever else was read goes back as it was.

func setFinalizer(o metav1.Object, finalizer string, want bool) {
	list := o.GetFinalizers()
	has := slices.Contains(list, finalizer)
	switch {
	case want && !has:
		o.SetFinalizers(append(slices.Clone(list), finalizer))
	case !want && has:
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(list), func(f string) bool { return f == finalizer }))
	}
}

func fromRef(r ownership.Ref) *v1alpha1.PeerReference {
	if r == (ownership.Ref{}) {
		return nil
	}
	return &v1alpha1.PeerReference{Name: r.Name, UID: types.UID(r.UID)}
}

func formatKeep(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func setRange(o *v1alpha1.AddressRange, r ownership.Range) {
	o.Spec.CIDR = r.CIDR.String()
	o.Spec.Owner = fromRef(r.Owner)
	o.Spec.PreviousOwner = fromRef(r.PreviousOwner)
	o.Spec.Epoch = r.Epoch
	o.Spec.Reserved = nil
	for _, res := range r.Reserved {
		o.Spec.Reserved = append(o.Spec.Reserved, v1alpha1.Reservation{Address: res.Address.String(), PodUID: types.UID(res.PodUID)})
	}
	o.Spec.Keep = nil
	if r.Keep != nil {
		keep := formatKeep(*r.Keep)
		o.Spec.Keep = &keep
	}
}

func newRange(pool string, cidr netip.Prefix) *v1alpha1.AddressRange {
	return &v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: rangeName(cidr)},
		Spec:       v1alpha1.AddressRangeSpec{Pool: pool, CIDR: cidr.String()},
	}
}

func setPeer(o *v1alpha1.Peer, p ownership.Peer) {
	setFinalizer(o, v1alpha1.OwnershipFinalizer, p.Finalizer)
	o.Spec.NodeUID = types.UID(p.NodeUID)
	o.Spec.Removal = nil
	if r := p.Removal; r != nil {
		o.Spec.Removal = &v1alpha1.PeerRemovalRecord{
			Reason:     v1alpha1.RemovalReason(r.Reason),
			RemovalUID: types.UID(r.RemovalUID),
			Heir:       r.Heir,
			AssertDown: r.AssertDown,
			CutOff:     r.CutOff,
		}
	}
}

// setPeerStatus writes the controller's verdict. status.agent stays as it was
// read: the resourceVersion guards it.
func setPeerStatus(o *v1alpha1.Peer, p ownership.Peer, now metav1.Time) {
	before := o.Status.Phase
	o.Status.Phase = v1alpha1.PeerPhase(p.Phase)
	o.Status.Underlay = nil
	for _, a := range p.Underlay {
		o.Status.Underlay = append(o.Status.Underlay, a.String())
	}
	if p.Result == nil {
		o.Status.Removal = nil
		return
	}
	res := &v1alpha1.PeerRemovalResult{}
	if o.Status.Removal != nil {
		res.FencedTime, res.CompletionTime = o.Status.Removal.FencedTime, o.Status.Removal.CompletionTime
	}
	res.Evidence = v1alpha1.Evidence(p.Result.Evidence)
	res.Heir = fromRef(p.Result.Heir)
	res.Ranges = int32(p.Result.Ranges)
	res.Addresses = p.Result.Addresses
	if o.Status.Phase == v1alpha1.PhaseTransferring && res.FencedTime == nil {
		res.FencedTime = &now
	}
	if o.Status.Phase == v1alpha1.PhaseRemoved && before != v1alpha1.PhaseRemoved {
		res.CompletionTime = &now
	}
	o.Status.Removal = res
}

func setDeclaration(o *v1alpha1.PeerRemoval, d ownership.Declaration) {
	setFinalizer(o, v1alpha1.RemovalFinalizer, d.Finalizer)
}

func setPool(o *v1alpha1.AddressPool, p ownership.Pool) {
	setFinalizer(o, v1alpha1.PoolFinalizer, p.Finalizer)
}

func leaseName(peer string) string { return v1alpha1.LeasePrefix + peer }

// setPoolStatus writes how far accepting the pool has come. What a person is
// to read of it is computed with the other conditions.
func setPoolStatus(o *v1alpha1.AddressPool, p ownership.Pool) {
	set := func(kind string, yes bool, reason, message string) {
		if yes {
			apimeta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{
				Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: o.Generation,
			})
		} else if apimeta.IsStatusConditionTrue(o.Status.Conditions, kind) {
			apimeta.RemoveStatusCondition(&o.Status.Conditions, kind)
		}
	}
	set(v1alpha1.ConditionClaimed, p.Claimed, "Claimed", "no accepted pool was seen to overlap")
	set(v1alpha1.ConditionAccepted, p.Accepted, "Accepted", "overlaps no other pool")
}

// sealedLease is the Lease with holder "sealed": from a copy of the one that
// was read, or, if there is none, a new one.
func sealedLease(read *coordinationv1.Lease, key types.NamespacedName, l ownership.Lease, sealedFor []string, duration time.Duration, now metav1.MicroTime) *coordinationv1.Lease {
	out := read.DeepCopy()
	if out == nil {
		out = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	}
	holder := v1alpha1.SealedHolder
	out.Spec.HolderIdentity = &holder
	if out.Spec.LeaseDurationSeconds == nil {
		d := l.Duration
		if d == 0 {
			d = duration
		}
		seconds := int32(max(d/time.Second, 1))
		out.Spec.LeaseDurationSeconds = &seconds
	}
	// Not a renewal: a new resourceVersion is what counts, and it needs a
	// change of its own when a seal is made anew.
	out.Spec.AcquireTime = &now
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	out.Annotations[v1alpha1.SealedForAnnotation] = strings.Join(sealedFor, ",")
	return out
}
