// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

var zeroGrace = client.GracePeriodSeconds(0)

// stage is the cluster of one test: a pool, and the controller's hand in it.
type stage struct {
	t    *testing.T
	next int
}

// newStage makes the pool, and clears all away after the test.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t}
	t.Cleanup(s.strike)
	pool := &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/12"}}
	s.must(admin.Create(t.Context(), pool))
	meta.SetStatusCondition(&pool.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted"})
	s.must(hand.Status().Update(t.Context(), pool))
	return s
}

// talking is a stage on which two machines have joined, a pod runs on each, and
// the first pod reaches the second.
func talking(t *testing.T) (s *stage, a, b *machine, x, y *pod) {
	t.Helper()
	s, a, b = newStage(t), newMachine(t), newMachine(t)
	s.join(a)
	s.join(b)
	x, y = a.awaitPod(), b.awaitPod()
	await.Until(t, "pods to reach each other", func() error { return x.reaches(y) })
	return s, a, b, x, y
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// strike takes all of Selvage's objects away, whatever state they are in.
func (s *stage) strike() {
	ctx := context.Background()
	note := func(err error) {
		if client.IgnoreNotFound(err) != nil {
			s.t.Errorf("clearing the stage: %v", err)
		}
	}
	var ranges v1alpha1.AddressRangeList
	note(hand.List(ctx, &ranges))
	for i := range ranges.Items {
		r := &ranges.Items[i]
		if len(r.Spec.Reserved) > 0 {
			r.Spec.Reserved = nil
			note(hand.Update(ctx, r))
		}
		if r.Spec.Owner != nil {
			s.own(ctx, r, nil)
		}
		note(hand.Delete(ctx, r))
	}
	var peers v1alpha1.PeerList
	note(hand.List(ctx, &peers))
	for i := range peers.Items {
		note(s.erase(ctx, peers.Items[i].Name))
	}
	note(s.sweep(ctx, &v1alpha1.PeerRemovalList{}))
	note(s.sweep(ctx, &v1alpha1.AddressPoolList{}))
	note(admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(namespace)))
}

// sweep deletes all of a kind, past the finalizers.
func (s *stage) sweep(ctx context.Context, list client.ObjectList) error {
	if err := hand.List(ctx, list); err != nil {
		return err
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		object := item.(client.Object)
		if len(object.GetFinalizers()) > 0 {
			object.SetFinalizers(nil)
			if err := hand.Update(ctx, object); err != nil {
				return err
			}
		}
		return client.IgnoreNotFound(admin.Delete(ctx, object))
	})
}

// erase strips the finalizer and deletes a Peer, as somebody with a hammer does.
func (s *stage) erase(ctx context.Context, name string) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var p v1alpha1.Peer
		if err := hand.Get(ctx, client.ObjectKey{Name: name}, &p); err != nil {
			return client.IgnoreNotFound(err)
		}
		p.Finalizers = nil
		if err := hand.Update(ctx, &p); err != nil {
			return client.IgnoreNotFound(err)
		}
		return client.IgnoreNotFound(hand.Delete(ctx, &p))
	})
}

// peer is a Peer as it is.
func (s *stage) peer(name string) *v1alpha1.Peer {
	s.t.Helper()
	var p v1alpha1.Peer
	s.must(hand.Get(s.t.Context(), client.ObjectKey{Name: name}, &p))
	return &p
}

// awaitPeer waits until a Peer is as a test wants it.
func (s *stage) awaitPeer(name, what string, condition func(*v1alpha1.Peer) bool) *v1alpha1.Peer {
	s.t.Helper()
	p := &v1alpha1.Peer{}
	await.Until(s.t, name+": "+what, func() error {
		*p = v1alpha1.Peer{}
		if err := hand.Get(s.t.Context(), client.ObjectKey{Name: name}, p); err != nil {
			return err
		}
		if !condition(p) {
			return fmt.Errorf("%+v", p.Status)
		}
		return nil
	})
	return p
}

// changePeer CASes a Peer's spec and metadata, or its status.
func (s *stage) changePeer(name string, status bool, change func(*v1alpha1.Peer)) *v1alpha1.Peer {
	s.t.Helper()
	var p v1alpha1.Peer
	s.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := hand.Get(s.t.Context(), client.ObjectKey{Name: name}, &p); err != nil {
			return err
		}
		change(&p)
		if status {
			return hand.Status().Update(s.t.Context(), &p)
		}
		return hand.Update(s.t.Context(), &p)
	}))
	return &p
}

// admit waits for a peer to join and report, and accepts its addresses.
func (s *stage) admit(m *machine) *v1alpha1.Peer {
	s.t.Helper()
	s.awaitPeer(m.node, "a report", func(p *v1alpha1.Peer) bool { return p.Status.Agent != nil && len(p.Status.Agent.Underlay) > 0 })
	return s.changePeer(m.node, true, func(p *v1alpha1.Peer) { p.Status.Underlay = p.Status.Agent.Underlay })
}

// grant gives a peer a range of its own.
func (s *stage) grant(p *v1alpha1.Peer) *v1alpha1.AddressRange {
	s.t.Helper()
	s.next++
	return s.grantCIDR(p, fmt.Sprintf("10.%d.%d.0/24", 32+s.next/256, s.next%256))
}

func (s *stage) grantCIDR(p *v1alpha1.Peer, cidr string) *v1alpha1.AddressRange {
	s.t.Helper()
	name, _, _ := strings.Cut(cidr, "/")
	r := &v1alpha1.AddressRange{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: cidr}}
	s.must(hand.Create(s.t.Context(), r))
	s.own(s.t.Context(), r, p)
	return r
}

// own is one CAS of ownership.
func (s *stage) own(ctx context.Context, r *v1alpha1.AddressRange, p *v1alpha1.Peer) {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := hand.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		if r.Spec.Owner != nil {
			r.Spec.PreviousOwner = r.Spec.Owner
		}
		r.Spec.Owner = nil
		if p != nil {
			r.Spec.Owner = &v1alpha1.PeerReference{Name: p.Name, UID: p.UID}
		}
		r.Spec.Epoch++
		return hand.Update(ctx, r)
	})
	if err != nil {
		s.t.Errorf("changing the owner of %s: %v", r.Name, err)
	}
}

// lease is the Lease of a peer; nil: there is none.
func (s *stage) lease(name string) *coordinationv1.Lease {
	s.t.Helper()
	var l coordinationv1.Lease
	err := hand.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.LeasePrefix + name}, &l)
	if apierrors.IsNotFound(err) {
		return nil
	}
	s.must(err)
	return &l
}

// holdLease writes a holder into a peer's Lease, as the controller does to seal
// it, and as a clone does to take it.
func (s *stage) holdLease(name, holder string) {
	s.t.Helper()
	s.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		l := s.lease(name)
		l.Spec.HolderIdentity = &holder
		return hand.Update(s.t.Context(), l)
	}))
}

// awaitCutOff waits until a peer reports an incarnation as cut off.
func (s *stage) awaitCutOff(name, uid string) {
	s.t.Helper()
	await.Until(s.t, name+" to report a cut-off", func() error {
		l := s.lease(name)
		if l == nil || !slices.Contains(strings.Split(l.Annotations[v1alpha1.CutOffAnnotation], ","), uid) {
			return fmt.Errorf("its Lease: %+v", l)
		}
		return nil
	})
}

// declare begins a removal: the record, then the phase.
func (s *stage) declare(name string) *v1alpha1.Peer {
	s.t.Helper()
	s.changePeer(name, false, func(p *v1alpha1.Peer) {
		p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonLeaving}
	})
	return s.changePeer(name, true, func(p *v1alpha1.Peer) { p.Status.Phase = v1alpha1.PhaseFencing })
}

// transfer goes on from Fencing: evidence is at hand, ranges may move.
func (s *stage) transfer(name string) *v1alpha1.Peer {
	s.t.Helper()
	s.holdLease(name, v1alpha1.SealedHolder)
	return s.changePeer(name, true, func(p *v1alpha1.Peer) {
		p.Status.Phase = v1alpha1.PhaseTransferring
		p.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceAsserted}
	})
}

// finish moves a peer's ranges and goes on to Removed.
func (s *stage) finish(p *v1alpha1.Peer, heir *v1alpha1.Peer) {
	s.t.Helper()
	var ranges v1alpha1.AddressRangeList
	s.must(hand.List(s.t.Context(), &ranges))
	for i := range ranges.Items {
		if r := &ranges.Items[i]; r.Spec.Owner != nil && r.Spec.Owner.UID == p.UID {
			s.own(s.t.Context(), r, heir)
		}
	}
	s.changePeer(p.Name, true, func(p *v1alpha1.Peer) { p.Status.Phase = v1alpha1.PhaseRemoved })
}

// join starts a machine and gives it a range.
func (s *stage) join(m *machine) (*v1alpha1.Peer, *v1alpha1.AddressRange) {
	s.t.Helper()
	m.start()
	p := s.admit(m)
	r := s.grant(p)
	m.awaitServing()
	await.Until(s.t, m.node+" to report its range", func() error {
		if err := hand.Get(s.t.Context(), client.ObjectKeyFromObject(r), r); err != nil || r.Status.ObservedEpoch != r.Spec.Epoch {
			return fmt.Errorf("%+v %w", r.Status, err)
		}
		return nil
	})
	return p, r
}

// cancel takes a removal back: the record, then the phase.
func (s *stage) cancel(name string) {
	s.t.Helper()
	s.changePeer(name, false, func(p *v1alpha1.Peer) { p.Spec.Removal = nil })
	s.changePeer(name, true, func(p *v1alpha1.Peer) { p.Status.Phase = v1alpha1.PhaseActive })
}

// changeRange CASes a range's spec.
func (s *stage) changeRange(r *v1alpha1.AddressRange, change func(*v1alpha1.AddressRange)) {
	s.t.Helper()
	s.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := hand.Get(s.t.Context(), client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		change(r)
		return hand.Update(s.t.Context(), r)
	}))
}
