// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// saying is a peer's status with that reason.
func saying(reason string) v1alpha1.PeerStatus {
	return v1alpha1.PeerStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}}
}

// writes is how often somebody writes in half a minute in which each in turn
// wants a peer's status to be something.
func writes(t *testing.T, wants ...func(now time.Duration) string) (n int) {
	t.Helper()
	peer := &v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "a", ResourceVersion: "0"}}
	writers := make([]statusWriter, len(wants))
	for now := time.Duration(0); now < 30*time.Second; now += 50 * time.Millisecond {
		for i, want := range wants {
			writers[i].begin(1)
			next := peer.DeepCopy()
			next.Status = saying(want(now))
			if !writers[i].due(next, comparePeer(&peer.Status, &next.Status), now) {
				continue
			}
			writers[i].wrote(next, peer.ResourceVersion, now)
			n++
			next.ResourceVersion = fmt.Sprint(n)
			peer = next
		}
	}
	return n
}

// TestNobodyFights: two controllers of which one has watched a Lease for longer
// do not write over each other for ever, and what really changes is written at
// once.
func TestNobodyFights(t *testing.T) {
	always := func(what string) func(time.Duration) string { return func(time.Duration) string { return what } }
	if n := writes(t, always("A"), always("B")); n > 10 {
		t.Errorf("%d writes by two who differ", n)
	}
	everySecond := func(now time.Duration) string { return []string{"A", "B", "C"}[int(now/time.Second)%3] }
	if n := writes(t, everySecond); n != 30 {
		t.Errorf("%d writes of 30 changes", n)
	}
}

// TestLogged: that an object's state has changed is logged once, with the same
// keys each time, and not again as long as it stays so.
func TestLogged(t *testing.T) {
	loop, _ := bystander(t)
	p, l, r := servingPeer("a")
	l.Name = v1alpha1.LeasePrefix + "a"
	loop.Applier.Client = fake.NewClientBuilder().WithScheme(Scheme()).WithObjects(p).WithStatusSubresource(p).Build()
	var said []string
	ctx := log.IntoContext(t.Context(), funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{}))
	at := time.Minute
	loop.Clock = func() time.Duration { return at }
	look := func(objects ...any) {
		t.Helper()
		at += time.Minute
		now := &v1alpha1.Peer{}
		if err := loop.Applier.Client.Get(ctx, client.ObjectKeyFromObject(p), now); err != nil {
			t.Fatal(err)
		}
		loop.report(ctx, viewOf(append(objects, now)...), &ownership.Decision{}, nil)
	}
	for range 3 {
		look(r)
	}
	for range 3 {
		r.Status.Used++
		look(l, r)
	}
	if len(said) != 2 || !strings.Contains(said[0], `"status" "object"="Peer/a" "ready"="False" "reason"="LeaseNotTaken" "message"=`) ||
		!strings.Contains(said[1], `"object"="Peer/a" "ready"="True" "reason"="Serving"`) {
		t.Errorf("%q", said)
	}
}
