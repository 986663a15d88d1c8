// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"errors"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

func (s *stage) lease(name string) (*coordinationv1.Lease, error) {
	l := &coordinationv1.Lease{}
	return l, s.admin.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.LeasePrefix + name}, l)
}

// A node that never returns leaves no Lease behind; while its removal keeps the
// name out it does. What read the Lease before it was deleted takes nothing.
func TestSpentLeasesAreDeleted(t *testing.T) {
	s := newStage(t)
	ctl := runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 24, 24)
	s.add("host1", script{})
	h2 := s.add("host2", script{leaseSeconds: 2})
	s.awaitOwned("host1", 1)
	s.awaitOwned("host2", 1)
	h2.set(func(s *script) { s.dead = true })
	held, err := s.lease("host2")
	if err != nil {
		t.Fatal(err)
	}
	removal := s.remove("host2", v1alpha1.PeerRemovalSpec{Heir: "host1", AssertDown: true})
	s.awaitRemoved("host2")
	if err := s.admin.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "host2"}}); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the Peer to be gone", func() error { return isGone(s.get("host2", &v1alpha1.Peer{})) })
	sealed, err := s.lease("host2")
	if err != nil || holderOf(sealed) != v1alpha1.SealedHolder {
		t.Fatalf("the name is out, and its lease is %+v (%v)", sealed, err)
	}
	if err := s.admin.Delete(t.Context(), removal); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the Lease to be gone", func() error { _, err := s.lease("host2"); return isGone(err) })

	// (With a resourceVersion and without a uid the API server would create it.)
	for what, read := range map[string]*coordinationv1.Lease{"renewed": held, "taken": sealed} {
		late := read.DeepCopy()
		holder := held.Spec.HolderIdentity
		late.Spec.HolderIdentity = holder
		if err := h2.client.Update(t.Context(), late); !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			t.Errorf("a Lease that is gone is %s: %v", what, err)
		}
		if _, err := s.lease("host2"); isGone(err) != nil {
			t.Fatalf("a Lease that is gone is there again when %s: %v", what, err)
		}
	}
	await.Until(t, "host1's lease to be held as before", func() error {
		l, err := s.lease("host1")
		if err == nil && holderOf(l) == v1alpha1.SealedHolder {
			err = errors.New("it is sealed")
		}
		return err
	})
	// Sealed once, deleted once.
	if n := counter(t, ctl, "selvage_writes_total", "Lease"); n < 2 {
		t.Errorf("selvage_writes_total{kind=Lease} is %v", n)
	}
	audit(t, s.admin)
}
