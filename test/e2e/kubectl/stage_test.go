// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// stage is the story's cluster: three hosts, host3 has grown once.
type stage struct {
	peers map[string]*v1alpha1.Peer
}

func setStage(ctx context.Context) *stage {
	GinkgoHelper()
	st := &stage{peers: map[string]*v1alpha1.Peer{}}
	DeferCleanup(strike)
	st.pool(ctx, "default", "10.32.0.0/12", 14)
	for _, name := range []string{"host1", "host2", "host3"} {
		st.join(ctx, name, "instance-of-"+name)
	}
	st.grant(ctx, "default", "10.32.0.0/14", "host1", 31)
	st.grant(ctx, "default", "10.36.0.0/14", "host2", 28)
	st.grant(ctx, "default", "10.40.0.0/14", "host3", 20)
	st.grant(ctx, "default", "10.44.0.0/14", "host3", 10)
	for name := range st.peers {
		st.serving(ctx, name)
	}
	st.leader(ctx)
	return st
}

func (st *stage) pool(ctx context.Context, name, cidr string, bits int32) {
	GinkgoHelper()
	p := &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: cidr, RangePrefixLength: &bits, MaxRangePrefixLength: &bits},
	}
	Expect(admin.Create(ctx, p)).To(Succeed())
	p.Status.ObservedGeneration = p.Generation
	p.Status.Addresses = &v1alpha1.AddressCounts{Total: "1048576", Assigned: "1048576", Used: "89", Reserved: "0", Free: "0"}
	set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionAccepted, true, "Accepted", "")
	set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, true, "Dividing", "")
	Expect(controller.Status().Update(ctx, p)).To(Succeed())
}

// join creates a Peer as its agent does, and takes its lease.
func (st *stage) join(ctx context.Context, name, instance string) {
	GinkgoHelper()
	p := &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.OwnershipFinalizer}},
		Spec:       v1alpha1.PeerSpec{NodeName: name, NodeUID: nodes[name], InstanceID: instance},
	}
	Expect(agents[name].Create(ctx, p)).To(Succeed())
	before := p.DeepCopy()
	p.Status.Agent = &v1alpha1.AgentReport{Version: "v0.1.0", HostName: name + ".rack7", NodeUID: nodes[name], Underlay: []string{hosts[name]}}
	Expect(agents[name].Status().Patch(ctx, p, client.MergeFrom(before))).To(Succeed())
	st.lease(ctx, name, string(p.UID)+"/run1", "", "")
	st.update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase, p.Status.Underlay = v1alpha1.PhaseActive, []string{hosts[name]}
	})
}

// grant claims a range and gives it to a peer, as the controller does.
func (st *stage) grant(ctx context.Context, pool, cidr, owner string, used int64) *v1alpha1.AddressRange {
	GinkgoHelper()
	r := claim(ctx, pool, cidr)
	p := st.peers[owner]
	r.Spec.Owner, r.Spec.Epoch = &v1alpha1.PeerReference{Name: p.Name, UID: p.UID}, 1
	Expect(controller.Update(ctx, r)).To(Succeed())
	st.observe(ctx, r, 1, used)
	return r
}

// observe reports a range as its owner's agent does.
func (st *stage) observe(ctx context.Context, r *v1alpha1.AddressRange, epoch, used int64) {
	GinkgoHelper()
	before := r.DeepCopy()
	r.Status.ObservedEpoch, r.Status.Used = epoch, used
	Expect(agents[r.Spec.Owner.Name].Status().Patch(ctx, r, client.MergeFrom(before))).To(Succeed())
}

func claim(ctx context.Context, pool, cidr string) *v1alpha1.AddressRange {
	GinkgoHelper()
	first := netip.MustParsePrefix(cidr).Addr()
	r := &v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: first.String()},
		Spec:       v1alpha1.AddressRangeSpec{Pool: pool, CIDR: cidr},
	}
	Expect(controller.Create(ctx, r)).To(Succeed())
	return r
}

// serving fills in what the controller writes about a peer that is well.
func (st *stage) serving(ctx context.Context, name string) {
	GinkgoHelper()
	st.update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Ranges, p.Status.Addresses, p.Status.Used = 1, 262144, 31
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, true, "Serving", "")
	})
}

// update writes a peer's status, whatever was written meanwhile.
func (st *stage) update(ctx context.Context, name string, change func(*v1alpha1.Peer)) {
	GinkgoHelper()
	Eventually(func() error {
		p := &v1alpha1.Peer{}
		if err := controller.Get(ctx, client.ObjectKey{Name: name}, p); err != nil {
			return err
		}
		change(p)
		err := controller.Status().Update(ctx, p)
		st.peers[name] = p
		return err
	}).WithTimeout(patience).Should(Succeed())
}

// lease writes a peer's lease: who holds it, and what is noted on it.
func (st *stage) lease(ctx context.Context, peer, holder, cutOff, sealedFor string) {
	GinkgoHelper()
	now := metav1.NowMicro()
	seconds := int32(60)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeasePrefix + peer, Namespace: namespace}}
	err := admin.Get(ctx, client.ObjectKeyFromObject(l), l)
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}
	l.Annotations = map[string]string{}
	if cutOff != "" {
		l.Annotations[v1alpha1.CutOffAnnotation] = cutOff
	}
	if sealedFor != "" {
		l.Annotations[v1alpha1.SealedForAnnotation] = sealedFor
	}
	if apierrors.IsNotFound(err) {
		Expect(admin.Create(ctx, l)).To(Succeed())
		return
	}
	Expect(admin.Update(ctx, l)).To(Succeed())
}

func (st *stage) leader(ctx context.Context) {
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

// accept binds a PeerRemoval to its peer, and both are Fencing.
func (st *stage) accept(ctx context.Context, name, message string) *v1alpha1.PeerRemoval {
	GinkgoHelper()
	r := &v1alpha1.PeerRemoval{}
	Eventually(func() error { return controller.Get(ctx, client.ObjectKey{Name: name}, r) }).WithTimeout(patience).Should(Succeed())
	if len(r.Finalizers) == 0 {
		r.Finalizers = []string{v1alpha1.RemovalFinalizer}
		Expect(controller.Update(ctx, r)).To(Succeed())
	}
	p := &v1alpha1.Peer{}
	Expect(controller.Get(ctx, client.ObjectKey{Name: name}, p)).To(Succeed())
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: r.UID, Heir: r.Spec.Heir, AssertDown: r.Spec.AssertDown}
	Expect(controller.Update(ctx, p)).To(Succeed())
	st.update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseFencing
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, false, "Waiting", message)
	})
	r.Status.Phase, r.Status.PeerUID, r.Status.ObservedGeneration = v1alpha1.RemovalFencing, p.UID, r.Generation
	set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReady, false, "Waiting", message)
	set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReconciling, true, "Waiting", message)
	Expect(controller.Status().Update(ctx, r)).To(Succeed())
	return r
}

// transfer fixes evidence and heir.
func (st *stage) transfer(ctx context.Context, name, heir string) {
	GinkgoHelper()
	p := st.peers[name]
	st.lease(ctx, name, v1alpha1.SealedHolder, "", fmt.Sprintf("%s@%d", p.UID, p.Generation))
	now := metav1.Now()
	st.update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseTransferring
		p.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceLeaseExpired, FencedTime: &now}
		if heir != "" {
			p.Status.Removal.Heir = &v1alpha1.PeerReference{Name: heir, UID: st.peers[heir].UID}
		}
	})
	st.mirror(ctx, name, v1alpha1.RemovalTransferring)
}

// cutOff is another peer's report.
func (st *stage) cutOff(ctx context.Context, by, whom string) {
	GinkgoHelper()
	st.lease(ctx, by, string(st.peers[by].UID)+"/run1", string(st.peers[whom].UID), "")
}

// finish moves the ranges, and then the peer to Removed.
func (st *stage) finish(ctx context.Context, name string) {
	GinkgoHelper()
	p := st.peers[name]
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
		addresses += 1 << (32 - netip.MustParsePrefix(r.Spec.CIDR).Bits())
	}
	now := metav1.NewTime(time.Now())
	st.update(ctx, name, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseRemoved
		p.Status.Removal.Ranges, p.Status.Removal.Addresses, p.Status.Removal.CompletionTime = moved, addresses, &now
		set(&p.Status.Conditions, p.Generation, v1alpha1.ConditionReady, false, "Removed", "removed")
	})
	st.mirror(ctx, name, v1alpha1.RemovalRemoved)
}

func (st *stage) mirror(ctx context.Context, name string, phase v1alpha1.RemovalPhase) {
	GinkgoHelper()
	res := st.peers[name].Status.Removal
	Eventually(func() error {
		r := &v1alpha1.PeerRemoval{}
		if err := controller.Get(ctx, client.ObjectKey{Name: name}, r); err != nil {
			return client.IgnoreNotFound(err)
		}
		r.Status.Phase, r.Status.Evidence, r.Status.FencedTime = phase, res.Evidence, res.FencedTime
		r.Status.Ranges, r.Status.Addresses, r.Status.CompletionTime = res.Ranges, res.Addresses, res.CompletionTime
		if res.Heir != nil {
			r.Status.Heir = res.Heir.Name
		}
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReady, phase == v1alpha1.RemovalRemoved, string(phase), "")
		set(&r.Status.Conditions, r.Generation, v1alpha1.ConditionReconciling, phase != v1alpha1.RemovalRemoved, string(phase), "")
		return controller.Status().Update(ctx, r)
	}).WithTimeout(patience).Should(Succeed())
}

// cancelled plays the controller's verdict on a deleted PeerRemoval: the peer
// is current again, and the finalizer goes.
func (st *stage) cancelled(ctx context.Context, name string) {
	GinkgoHelper()
	p := &v1alpha1.Peer{}
	Expect(controller.Get(ctx, client.ObjectKey{Name: name}, p)).To(Succeed())
	p.Spec.Removal = nil
	Expect(controller.Update(ctx, p)).To(Succeed())
	st.update(ctx, name, func(p *v1alpha1.Peer) { p.Status.Phase = v1alpha1.PhaseActive })
	release(ctx, name)
}

// release takes the finalizer off a deleted PeerRemoval.
func release(ctx context.Context, name string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		r := &v1alpha1.PeerRemoval{}
		g.Expect(controller.Get(ctx, client.ObjectKey{Name: name}, r)).To(Succeed())
		g.Expect(r.DeletionTimestamp).NotTo(BeNil())
		r.Finalizers = nil
		g.Expect(controller.Update(ctx, r)).To(Succeed())
	}).WithTimeout(patience).Should(Succeed())
}

// strike empties the stage: finalizers off as the controller, owned ranges
// given up before they are deleted.
func strike(ctx context.Context) {
	var removals v1alpha1.PeerRemovalList
	Expect(controller.List(ctx, &removals)).To(Succeed())
	for i := range removals.Items {
		discard(ctx, &removals.Items[i])
	}
	var ranges v1alpha1.AddressRangeList
	Expect(controller.List(ctx, &ranges)).To(Succeed())
	for i := range ranges.Items {
		disown(ctx, &ranges.Items[i])
		discard(ctx, &ranges.Items[i])
	}
	var peers v1alpha1.PeerList
	Expect(controller.List(ctx, &peers)).To(Succeed())
	for i := range peers.Items {
		discard(ctx, &peers.Items[i])
	}
	var pools v1alpha1.AddressPoolList
	Expect(controller.List(ctx, &pools)).To(Succeed())
	for i := range pools.Items {
		discard(ctx, &pools.Items[i])
	}
	Expect(admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(namespace))).To(Succeed())
	Expect(admin.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(0))).To(Succeed())
}

func disown(ctx context.Context, r *v1alpha1.AddressRange) {
	GinkgoHelper()
	if len(r.Spec.Reserved) > 0 {
		r.Spec.Reserved = nil
		Expect(controller.Update(ctx, r)).To(Succeed())
	}
	if r.Spec.Owner != nil {
		r.Spec.PreviousOwner, r.Spec.Owner, r.Spec.Keep = r.Spec.Owner, nil, nil
		r.Spec.Epoch++
		Expect(controller.Update(ctx, r)).To(Succeed())
	}
}

func discard(ctx context.Context, obj client.Object) {
	GinkgoHelper()
	err := controller.Delete(ctx, obj)
	if apierrors.IsForbidden(err) {
		err = admin.Delete(ctx, obj) // people's own kinds
	}
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	if err := controller.Get(ctx, client.ObjectKeyFromObject(obj), obj); err == nil && len(obj.GetFinalizers()) > 0 {
		obj.SetFinalizers(nil)
		Expect(client.IgnoreNotFound(controller.Update(ctx, obj))).To(Succeed())
	}
}

// grantAgain gives an owned range to another peer, past all order.
func (st *stage) grantAgain(ctx context.Context, name, owner string) *v1alpha1.AddressRange {
	GinkgoHelper()
	r := &v1alpha1.AddressRange{}
	Expect(controller.Get(ctx, client.ObjectKey{Name: name}, r)).To(Succeed())
	p := st.peers[owner]
	r.Spec.PreviousOwner, r.Spec.Owner = r.Spec.Owner, &v1alpha1.PeerReference{Name: p.Name, UID: p.UID}
	r.Spec.Epoch++
	Expect(controller.Update(ctx, r)).To(Succeed())
	return r
}
