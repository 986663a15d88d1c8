// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// grants are the stage's ranges: who owns them, and how many of them are used.
// host4 is nearly full, and a part of the pool is free.
var grants = []struct {
	pool, cidr, owner string
	used              int64
}{
	{"default", "10.32.0.0/23", "host1", 402}, {"default", "10.32.2.0/23", "host2", 190},
	{"default", "10.32.4.0/23", "host3", 331}, {"default", "10.32.8.0/22", "host3", 288},
	{"default", "10.32.6.0/24", "host4", 249}, {"default", "10.32.7.0/24", "host5", 64}, {"default", "10.32.12.0/23", "host6", 117},
	{"v6", "fd00:10::/120", "host1", 110}, {"v6", "fd00:10::100/120", "host2", 96},
	{"v6", "fd00:10::200/120", "host3", 74}, {"v6", "fd00:10::300/120", "host5", 31},
}

// setStage makes two pools and six peers that serve.
func setStage(ctx context.Context) {
	GinkgoHelper()
	makePool(ctx, "default", "10.32.0.0/20", 24, 22)
	makePool(ctx, "v6", "fd00:10::/112", 120, 118)
	for name := range hosts {
		join(ctx, name)
	}
	for _, g := range grants {
		grant(ctx, g.pool, g.cidr, g.owner, g.used)
	}
	lead(ctx)
}

func makePool(ctx context.Context, name, cidr string, bits, most int32) {
	GinkgoHelper()
	p := &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: cidr, RangePrefixLength: &bits, MaxRangePrefixLength: &most},
	}
	Expect(admin.Create(ctx, p)).To(Succeed())
	p.Status.ObservedGeneration = p.Generation
	set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionAccepted, true, "Accepted", "")
	set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, true, "Dividing", "")
	Expect(controller.Status().Update(ctx, p)).To(Succeed())
}

// join creates a Peer as its agent does, takes its lease, and serves.
func join(ctx context.Context, name string) {
	GinkgoHelper()
	p := &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.OwnershipFinalizer}},
		Spec:       v1alpha1.PeerSpec{NodeName: name, NodeUID: nodes[name], InstanceID: "instance-of-" + name},
	}
	Expect(agents[name].Create(ctx, p)).To(Succeed())
	before := p.DeepCopy()
	p.Status.Agent = &v1alpha1.AgentReport{Version: "v0.1.0", HostName: name + ".rack7", NodeUID: nodes[name], Underlay: []string{hosts[name]}}
	Expect(agents[name].Status().Patch(ctx, p, client.MergeFrom(before))).To(Succeed())
	lease(ctx, name, string(p.UID)+"/run1", "", "")
	update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase, p.Status.Underlay = v1alpha1.PhaseActive, []string{hosts[name]}
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, true, "Serving", "")
	})
}

// grant claims a range and gives it to a peer, whose agent reports it.
func grant(ctx context.Context, pool, cidr, owner string, used int64) {
	GinkgoHelper()
	first := netip.MustParsePrefix(cidr).Addr()
	r := &v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(first.StringExpanded(), ":", "-")},
		Spec:       v1alpha1.AddressRangeSpec{Pool: pool, CIDR: cidr},
	}
	Expect(controller.Create(ctx, r)).To(Succeed())
	p := peerOf(ctx, owner)
	r.Spec.Owner, r.Spec.Epoch = &v1alpha1.PeerReference{Name: p.Name, UID: p.UID}, 1
	Expect(controller.Update(ctx, r)).To(Succeed())
	observe(ctx, r, used)
}

// observe reports a range as its owner's agent does.
func observe(ctx context.Context, r *v1alpha1.AddressRange, used int64) {
	GinkgoHelper()
	before := r.DeepCopy()
	r.Status.ObservedEpoch, r.Status.Used = r.Spec.Epoch, used
	Expect(agents[r.Spec.Owner.Name].Status().Patch(ctx, r, client.MergeFrom(before))).To(Succeed())
}

func peerOf(ctx context.Context, name string) *v1alpha1.Peer {
	GinkgoHelper()
	p := &v1alpha1.Peer{}
	Expect(controller.Get(ctx, client.ObjectKey{Name: name}, p)).To(Succeed())
	return p
}

// update writes a peer's status, whatever was written meanwhile.
func update(ctx context.Context, name string, change func(*v1alpha1.Peer)) {
	GinkgoHelper()
	Eventually(func() error {
		p := peerOf(ctx, name)
		change(p)
		return controller.Status().Update(ctx, p)
	}).WithTimeout(patience).Should(Succeed())
}

// lease writes a peer's lease: who holds it, and what is noted on it.
func lease(ctx context.Context, peer, holder, cutOff, sealedFor string) {
	GinkgoHelper()
	now, seconds := metav1.NowMicro(), int32(600)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeasePrefix + peer, Namespace: namespace}}
	err := admin.Get(ctx, client.ObjectKeyFromObject(l), l)
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}
	l.Annotations = map[string]string{}
	for key, value := range map[string]string{v1alpha1.CutOffAnnotation: cutOff, v1alpha1.SealedForAnnotation: sealedFor} {
		if value != "" {
			l.Annotations[key] = value
		}
	}
	if apierrors.IsNotFound(err) {
		Expect(admin.Create(ctx, l)).To(Succeed())
		return
	}
	Expect(admin.Update(ctx, l)).To(Succeed())
}

func lead(ctx context.Context) {
	GinkgoHelper()
	now, who := metav1.NowMicro(), "controller-0"
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeaderLease, Namespace: namespace}}
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &who, RenewTime: &now}
	Expect(admin.Create(ctx, l)).To(Succeed())
}

func set(conditions *[]metav1.Condition, generation int64, kind string, yes bool, reason, message string) {
	status := metav1.ConditionFalse
	if yes {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: generation})
}

// declare applies a PeerRemoval as a person does.
func declare(ctx context.Context, name, heir string) {
	GinkgoHelper()
	Expect(admin.Create(ctx, &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.PeerRemovalSpec{Heir: heir}})).To(Succeed())
}

// accept binds a PeerRemoval to its peer, and both are Fencing.
func accept(ctx context.Context, name, message string) {
	GinkgoHelper()
	r := &v1alpha1.PeerRemoval{}
	Expect(controller.Get(ctx, client.ObjectKey{Name: name}, r)).To(Succeed())
	r.Finalizers = []string{v1alpha1.RemovalFinalizer}
	Expect(controller.Update(ctx, r)).To(Succeed())
	p := peerOf(ctx, name)
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: r.UID, Heir: r.Spec.Heir}
	Expect(controller.Update(ctx, p)).To(Succeed())
	waiting(ctx, name, message)
}

// waiting lets the controller say what a removal waits for.
func waiting(ctx context.Context, name, message string) {
	GinkgoHelper()
	update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseFencing
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, false, "Waiting", message)
	})
	removal(ctx, name, func(r *v1alpha1.PeerRemoval) {
		r.Status.Phase, r.Status.PeerUID, r.Status.ObservedGeneration = v1alpha1.RemovalFencing, peerOf(ctx, name).UID, r.Generation
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReady, false, "Waiting", message)
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReconciling, true, "Waiting", message)
	})
}

// removal writes a PeerRemoval's status.
func removal(ctx context.Context, name string, change func(*v1alpha1.PeerRemoval)) {
	GinkgoHelper()
	Eventually(func() error {
		r := &v1alpha1.PeerRemoval{}
		if err := controller.Get(ctx, client.ObjectKey{Name: name}, r); err != nil {
			return err
		}
		change(r)
		return controller.Status().Update(ctx, r)
	}).WithTimeout(patience).Should(Succeed())
}

// transfer fixes evidence and heir, after the lease was sealed.
func transfer(ctx context.Context, name, heir string) {
	GinkgoHelper()
	p := peerOf(ctx, name)
	lease(ctx, name, v1alpha1.SealedHolder, "", fmt.Sprintf("%s@%d", p.UID, p.Generation))
	result := &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceLeaseExpired, FencedTime: &metav1.Time{Time: time.Now()}}
	result.Heir = &v1alpha1.PeerReference{Name: heir, UID: peerOf(ctx, heir).UID}
	update(ctx, name, func(p *v1alpha1.Peer) { p.Status.Phase, p.Status.Removal = v1alpha1.PhaseTransferring, result })
	mirror(ctx, name, v1alpha1.RemovalTransferring)
}

// cutOff is another peer's report that it has cut a peer off.
func cutOff(ctx context.Context, by, whom string) {
	GinkgoHelper()
	lease(ctx, by, string(peerOf(ctx, by).UID)+"/run1", string(peerOf(ctx, whom).UID), "")
}

// finish moves the ranges to the heir, and the peer to Removed.
func finish(ctx context.Context, name string) {
	GinkgoHelper()
	p := peerOf(ctx, name)
	var ranges v1alpha1.AddressRangeList
	Expect(controller.List(ctx, &ranges)).To(Succeed())
	moved, addresses := int32(0), int64(0)
	for i := range ranges.Items {
		r := &ranges.Items[i]
		if r.Spec.Owner == nil || r.Spec.Owner.UID != p.UID {
			continue
		}
		r.Spec.PreviousOwner, r.Spec.Owner = r.Spec.Owner, p.Status.Removal.Heir
		r.Spec.Epoch++
		Expect(controller.Update(ctx, r)).To(Succeed())
		moved++
		prefix := netip.MustParsePrefix(r.Spec.CIDR)
		addresses += 1 << (prefix.Addr().BitLen() - prefix.Bits())
	}
	now := metav1.Now()
	update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseRemoved
		p.Status.Removal.Ranges, p.Status.Removal.Addresses, p.Status.Removal.CompletionTime = moved, addresses, &now
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, false, "Removed", "removed")
	})
	mirror(ctx, name, v1alpha1.RemovalRemoved)
}

// mirror tells the PeerRemoval what its Peer says.
func mirror(ctx context.Context, name string, phase v1alpha1.RemovalPhase) {
	GinkgoHelper()
	res := peerOf(ctx, name).Status.Removal
	removal(ctx, name, func(r *v1alpha1.PeerRemoval) {
		r.Status.Phase, r.Status.Evidence, r.Status.FencedTime = phase, res.Evidence, res.FencedTime
		r.Status.Ranges, r.Status.Addresses, r.Status.CompletionTime, r.Status.Heir = res.Ranges, res.Addresses, res.CompletionTime, res.Heir.Name
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReady, phase == v1alpha1.RemovalRemoved, string(phase), "")
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReconciling, phase != v1alpha1.RemovalRemoved, string(phase), "")
	})
}
