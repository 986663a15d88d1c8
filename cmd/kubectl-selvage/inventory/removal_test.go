// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"reflect"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

func leaseOf(holder string, annotations map[string]string) coordinationv1.Lease {
	return coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
}

// The fence counts a lease as the barrier does: DESIGN.md, Removing a peer.
func TestFence(t *testing.T) {
	s := &State{
		Peers: []v1alpha1.Peer{peer("a", ""), peer("b", ""), peer("c", ""), peer("d", ""), peer("e", ""), peer("gone", ""), peer("victim", "")},
		Leases: map[string]coordinationv1.Lease{
			"a":      leaseOf("uid-a/1", map[string]string{v1alpha1.CutOffAnnotation: "uid-old,uid-victim"}),
			"b":      leaseOf("uid-b/1", map[string]string{v1alpha1.CutOffAnnotation: "uid-victims"}),
			"c":      leaseOf(v1alpha1.SealedHolder, map[string]string{v1alpha1.SealedForAnnotation: "uid-c@3,uid-victim"}),
			"d":      leaseOf(v1alpha1.SealedHolder, map[string]string{v1alpha1.SealedForAnnotation: "uid-old"}),
			"victim": leaseOf(v1alpha1.SealedHolder, nil),
		},
	}
	s.Peers[5].Status.Phase = v1alpha1.PhaseRemoved
	s.Peers[6].Status.Phase = v1alpha1.PhaseTransferring
	got := s.Removal("victim").Fence
	want := Fence{Known: true, Sealed: true, CutOffBy: []string{"a"}, Exempt: []string{"c"}, Missing: []string{"b", "d", "e"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s.Unread = map[Part]error{Leases: errUnread}
	if s.Removal("victim").Fence.Known {
		t.Error("leases that were not read are not known")
	}
}

type unread struct{}

func (unread) Error() string { return "forbidden" }

var errUnread = unread{}

// A removal bound to a former instance says nothing about today's peer.
func TestRemovalOfAFormerInstance(t *testing.T) {
	p := peer("host3", "")
	p.Spec.InstanceID = "instance-2"
	s := &State{Peers: []v1alpha1.Peer{p}, Removals: []v1alpha1.PeerRemoval{{
		ObjectMeta: metav1.ObjectMeta{Name: "host3"},
		Spec:       v1alpha1.PeerRemovalSpec{InstanceID: "instance-1"},
		Status:     v1alpha1.PeerRemovalStatus{Phase: v1alpha1.RemovalRemoved, PeerUID: "uid-former", Addresses: 512},
	}}}
	r := s.Removal("host3")
	if !r.Over() || r.UID != "uid-former" || r.Addresses != 512 {
		t.Errorf("got %+v", r)
	}
	if !FormerInstance(&s.Removals[0], &s.Peers[0]) {
		t.Error("it is a former instance's")
	}
	if len(s.UnderWay()) != 0 {
		t.Error("nothing is under way")
	}
}

// What the Peer says is the record; the PeerRemoval mirrors it a moment later.
func TestPeerIsAheadOfItsRemoval(t *testing.T) {
	p := peer("host3", "")
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, Heir: "host1"}
	p.Status.Phase = v1alpha1.PhaseTransferring
	p.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceAsserted, Heir: &v1alpha1.PeerReference{Name: "host1"}}
	s := &State{Peers: []v1alpha1.Peer{p}, Removals: []v1alpha1.PeerRemoval{{
		ObjectMeta: metav1.ObjectMeta{Name: "host3"},
		Spec:       v1alpha1.PeerRemovalSpec{Heir: "host1"},
		Status:     v1alpha1.PeerRemovalStatus{Phase: v1alpha1.RemovalFencing, PeerUID: p.UID},
	}}}
	r := s.Removal("host3")
	if !r.Fixed() || r.Evidence != v1alpha1.EvidenceAsserted || r.Heir != "host1" || !r.Declared {
		t.Errorf("got %+v", r)
	}
	// The controller's own decision needs no PeerRemoval.
	s.Removals = nil
	s.Peers[0].Spec.Removal.Reason = v1alpha1.ReasonNodeGone
	if r := s.UnderWay(); len(r) != 1 || r[0].Declared || r[0].Reason != v1alpha1.ReasonNodeGone {
		t.Errorf("got %+v", r)
	}
}
