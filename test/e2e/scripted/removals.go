// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scripted

import (
	"context"
	"fmt"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Declare applies a PeerRemoval as a person does.
func (n *Network) Declare(ctx context.Context, name, heir string) {
	GinkgoHelper()
	Expect(n.Admin.Create(ctx, &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.PeerRemovalSpec{Heir: heir}})).To(Succeed())
}

// Accept binds a PeerRemoval, once it is there, to its peer: both are Fencing.
func (n *Network) Accept(ctx context.Context, name, message string) {
	GinkgoHelper()
	r := &v1alpha1.PeerRemoval{}
	Eventually(func() error { return n.Controller.Get(ctx, client.ObjectKey{Name: name}, r) }).WithTimeout(Patience).Should(Succeed())
	if len(r.Finalizers) == 0 {
		r.Finalizers = []string{v1alpha1.RemovalFinalizer}
		Expect(n.Controller.Update(ctx, r)).To(Succeed())
	}
	p := n.Peer(ctx, name)
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: r.UID, Heir: r.Spec.Heir, AssertDown: r.Spec.AssertDown}
	Expect(n.Controller.Update(ctx, p)).To(Succeed())
	n.Waiting(ctx, name, message)
}

// Waiting says what a removal waits for.
func (n *Network) Waiting(ctx context.Context, name, message string) {
	GinkgoHelper()
	n.Update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseFencing
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, false, "Waiting", message)
	})
	uid := n.Peer(ctx, name).UID
	n.removal(ctx, name, func(r *v1alpha1.PeerRemoval) {
		r.Status.Phase, r.Status.PeerUID, r.Status.ObservedGeneration = v1alpha1.RemovalFencing, uid, r.Generation
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReady, false, "Waiting", message)
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReconciling, true, "Waiting", message)
	})
}

// removal writes a PeerRemoval's status.
func (n *Network) removal(ctx context.Context, name string, change func(*v1alpha1.PeerRemoval)) {
	GinkgoHelper()
	Eventually(func() error {
		r := &v1alpha1.PeerRemoval{}
		if err := n.Controller.Get(ctx, client.ObjectKey{Name: name}, r); err != nil {
			return err
		}
		change(r)
		return n.Controller.Status().Update(ctx, r)
	}).WithTimeout(Patience).Should(Succeed())
}

// Transfer seals the lease, and fixes the evidence and the heir, if any.
func (n *Network) Transfer(ctx context.Context, name, heir string) {
	GinkgoHelper()
	p := n.Peer(ctx, name)
	n.Lease(ctx, name, v1alpha1.SealedHolder, "", fmt.Sprintf("%s@%d", p.UID, p.Generation))
	now := metav1.Now()
	result := &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceLeaseExpired, FencedTime: &now}
	if heir != "" {
		result.Heir = &v1alpha1.PeerReference{Name: heir, UID: n.Peer(ctx, heir).UID}
	}
	n.Update(ctx, name, func(p *v1alpha1.Peer) { p.Status.Phase, p.Status.Removal = v1alpha1.PhaseTransferring, result })
	n.mirror(ctx, name, v1alpha1.RemovalTransferring)
}

// CutOff is another peer's report that it has cut a peer off.
func (n *Network) CutOff(ctx context.Context, by, whom string) {
	GinkgoHelper()
	n.Lease(ctx, by, string(n.Peer(ctx, by).UID)+"/run1", string(n.Peer(ctx, whom).UID), "")
}

// Finish moves the ranges to the heir, or back, and the peer to Removed.
func (n *Network) Finish(ctx context.Context, name string) {
	GinkgoHelper()
	p := n.Peer(ctx, name)
	var ranges v1alpha1.AddressRangeList
	Expect(n.Controller.List(ctx, &ranges)).To(Succeed())
	moved, addresses := int32(0), int64(0)
	for i := range ranges.Items {
		r := &ranges.Items[i]
		if r.Spec.Owner == nil || r.Spec.Owner.UID != p.UID {
			continue
		}
		n.move(ctx, r, p.Status.Removal.Heir)
		moved++
		prefix := netip.MustParsePrefix(r.Spec.CIDR)
		addresses += 1 << (prefix.Addr().BitLen() - prefix.Bits())
	}
	now := metav1.Now()
	n.Update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseRemoved
		p.Status.Removal.Ranges, p.Status.Removal.Addresses, p.Status.Removal.CompletionTime = moved, addresses, &now
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, false, "Removed", "removed")
	})
	n.mirror(ctx, name, v1alpha1.RemovalRemoved)
}

// mirror tells the PeerRemoval what its Peer says.
func (n *Network) mirror(ctx context.Context, name string, phase v1alpha1.RemovalPhase) {
	GinkgoHelper()
	result := n.Peer(ctx, name).Status.Removal
	n.removal(ctx, name, func(r *v1alpha1.PeerRemoval) {
		r.Status.Phase, r.Status.Evidence, r.Status.FencedTime = phase, result.Evidence, result.FencedTime
		r.Status.Ranges, r.Status.Addresses, r.Status.CompletionTime = result.Ranges, result.Addresses, result.CompletionTime
		if result.Heir != nil {
			r.Status.Heir = result.Heir.Name
		}
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReady, phase == v1alpha1.RemovalRemoved, string(phase), "")
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReconciling, phase != v1alpha1.RemovalRemoved, string(phase), "")
	})
}

// Cancelled is the controller's verdict on a deleted PeerRemoval: the peer is
// current again, and the finalizer goes.
func (n *Network) Cancelled(ctx context.Context, name string) {
	GinkgoHelper()
	p := n.Peer(ctx, name)
	p.Spec.Removal = nil
	Expect(n.Controller.Update(ctx, p)).To(Succeed())
	n.Update(ctx, name, func(p *v1alpha1.Peer) { p.Status.Phase = v1alpha1.PhaseActive })
	n.Release(ctx, name)
}

// Release takes the finalizer off a deleted PeerRemoval.
func (n *Network) Release(ctx context.Context, name string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		r := &v1alpha1.PeerRemoval{}
		g.Expect(n.Controller.Get(ctx, client.ObjectKey{Name: name}, r)).To(Succeed())
		g.Expect(r.DeletionTimestamp).NotTo(BeNil())
		r.Finalizers = nil
		g.Expect(n.Controller.Update(ctx, r)).To(Succeed())
	}).WithTimeout(Patience).Should(Succeed())
}
