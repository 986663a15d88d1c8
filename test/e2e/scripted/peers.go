// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scripted

import (
	"context"
	"net/netip"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Pool makes an accepted pool. Its ranges are of bits at least and most at most.
func (n *Network) Pool(ctx context.Context, name, cidr string, bits, most int32, counts *v1alpha1.AddressCounts) {
	GinkgoHelper()
	p := &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: cidr, RangePrefixLength: &bits, MaxRangePrefixLength: &most},
	}
	Expect(n.Admin.Create(ctx, p)).To(Succeed())
	p.Status.ObservedGeneration, p.Status.Addresses = p.Generation, counts
	set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionAccepted, true, "Accepted", "")
	set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, true, "Dividing", "")
	Expect(n.Controller.Status().Update(ctx, p)).To(Succeed())
}

// Join creates a Peer as its agent does, and takes its lease; it serves.
func (n *Network) Join(ctx context.Context, name string) {
	GinkgoHelper()
	p := &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.OwnershipFinalizer}},
		Spec:       v1alpha1.PeerSpec{NodeName: name, NodeUID: n.Nodes[name], InstanceID: "instance-of-" + name},
	}
	Expect(n.Agents[name].Create(ctx, p)).To(Succeed())
	before := p.DeepCopy()
	p.Status.Agent = &v1alpha1.AgentReport{Version: "v0.1.0", HostName: name + ".rack7", NodeUID: n.Nodes[name], Underlay: []string{n.Hosts[name]}}
	Expect(n.Agents[name].Status().Patch(ctx, p, client.MergeFrom(before))).To(Succeed())
	n.Lease(ctx, name, string(p.UID)+"/run1", "", "")
	n.Update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase, p.Status.Underlay = v1alpha1.PhaseActive, []string{n.Hosts[name]}
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, true, "Serving", "")
	})
}

// Peer is what it is now.
func (n *Network) Peer(ctx context.Context, name string) *v1alpha1.Peer {
	GinkgoHelper()
	p := &v1alpha1.Peer{}
	Expect(n.Controller.Get(ctx, client.ObjectKey{Name: name}, p)).To(Succeed())
	return p
}

// Update writes a peer's status as the controller, whatever was written
// meanwhile.
func (n *Network) Update(ctx context.Context, name string, change func(*v1alpha1.Peer)) {
	GinkgoHelper()
	Eventually(func() error {
		p := n.Peer(ctx, name)
		change(p)
		return n.Controller.Status().Update(ctx, p)
	}).WithTimeout(Patience).Should(Succeed())
}

// Claim claims a range for nobody yet.
func (n *Network) Claim(ctx context.Context, pool, cidr string) *v1alpha1.AddressRange {
	GinkgoHelper()
	first := netip.MustParsePrefix(cidr).Addr().StringExpanded()
	r := &v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(first, ":", "-")},
		Spec:       v1alpha1.AddressRangeSpec{Pool: pool, CIDR: cidr},
	}
	Expect(n.Controller.Create(ctx, r)).To(Succeed())
	return r
}

// Grant claims a range and gives it to a peer, whose agent reports it.
func (n *Network) Grant(ctx context.Context, pool, cidr, owner string, used int64) *v1alpha1.AddressRange {
	GinkgoHelper()
	r := n.Claim(ctx, pool, cidr)
	n.give(ctx, r, owner)
	n.Observe(ctx, r, r.Spec.Epoch, used)
	return r
}

// GrantAgain gives an owned range to another peer, past all order.
func (n *Network) GrantAgain(ctx context.Context, name, owner string) {
	GinkgoHelper()
	r := &v1alpha1.AddressRange{}
	Expect(n.Controller.Get(ctx, client.ObjectKey{Name: name}, r)).To(Succeed())
	n.give(ctx, r, owner)
}

func (n *Network) give(ctx context.Context, r *v1alpha1.AddressRange, owner string) {
	GinkgoHelper()
	p := n.Peer(ctx, owner)
	n.move(ctx, r, &v1alpha1.PeerReference{Name: p.Name, UID: p.UID})
}

func (n *Network) move(ctx context.Context, r *v1alpha1.AddressRange, to *v1alpha1.PeerReference) {
	GinkgoHelper()
	r.Spec.PreviousOwner, r.Spec.Owner = r.Spec.Owner, to
	r.Spec.Epoch++
	Expect(n.Controller.Update(ctx, r)).To(Succeed())
}

// Observe reports a range as its owner's agent does.
func (n *Network) Observe(ctx context.Context, r *v1alpha1.AddressRange, epoch, used int64) {
	GinkgoHelper()
	before := r.DeepCopy()
	r.Status.ObservedEpoch, r.Status.Used = epoch, used
	Expect(n.Agents[r.Spec.Owner.Name].Status().Patch(ctx, r, client.MergeFrom(before))).To(Succeed())
}

// Lease writes a peer's lease: who holds it, and what is noted on it.
func (n *Network) Lease(ctx context.Context, peer, holder, cutOff, sealedFor string) {
	GinkgoHelper()
	now, seconds := metav1.NowMicro(), int32(600)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeasePrefix + peer, Namespace: Namespace}}
	err := n.Admin.Get(ctx, client.ObjectKeyFromObject(l), l)
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}
	l.Annotations = map[string]string{}
	for key, value := range map[string]string{v1alpha1.CutOffAnnotation: cutOff, v1alpha1.SealedForAnnotation: sealedFor} {
		if value != "" {
			l.Annotations[key] = value
		}
	}
	if apierrors.IsNotFound(err) {
		Expect(n.Admin.Create(ctx, l)).To(Succeed())
		return
	}
	Expect(n.Admin.Update(ctx, l)).To(Succeed())
}

// Lead makes the leader election's Lease, which controller-0 holds.
func (n *Network) Lead(ctx context.Context) {
	GinkgoHelper()
	now, who := metav1.NowMicro(), "controller-0"
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeaderLease, Namespace: Namespace}}
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &who, RenewTime: &now}
	Expect(n.Admin.Create(ctx, l)).To(Succeed())
}

func set(conditions *[]metav1.Condition, generation int64, kind string, yes bool, reason, message string) {
	status := metav1.ConditionFalse
	if yes {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: generation})
}
