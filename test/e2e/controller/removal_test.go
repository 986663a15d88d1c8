// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

const sentence = "524288 IPs taken over from host3"

func mentions(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("%q does not mention %q", text, w)
		}
	}
	return nil
}

// threeHosts is the story's beginning: host3 owns two ranges.
func threeHosts(s *stage, third script) (h1, h2, h3 *agent) {
	s.t.Helper()
	s.pool("default", "10.32.0.0/12", 14, 14)
	h1, h2 = s.add("host1", script{}), s.add("host2", script{})
	third.headroom = 262145
	h3 = s.add("host3", third)
	s.awaitOwned("host1", 1)
	s.awaitOwned("host2", 1)
	s.awaitOwned("host3", 2)
	return h1, h2, h3
}

// readyMessage is what a person reads in the Message column.
func (s *stage) readyMessage(o client.Object) string {
	if err := s.get(o.GetName(), o); err != nil {
		return err.Error()
	}
	var conditions []metav1.Condition
	switch o := o.(type) {
	case *v1alpha1.Peer:
		conditions = o.Status.Conditions
	case *v1alpha1.PeerRemoval:
		conditions = o.Status.Conditions
	}
	if c := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		return c.Message
	}
	return ""
}

func (s *stage) awaitStalled(name string, words ...string) {
	s.t.Helper()
	await.Until(s.t, "the removal of "+name+" to be Stalled", func() error {
		var r v1alpha1.PeerRemoval
		if err := s.get(name, &r); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled)
		if c == nil || c.Status != metav1.ConditionTrue {
			return errors.New(s.explain(name))
		}
		return errors.Join(mentions(c.Message, words...), conditionIs(r.Status.Conditions, v1alpha1.ConditionReconciling, metav1.ConditionFalse))
	})
}

func expectTakenOver(s *stage, r *v1alpha1.PeerRemoval, evidence v1alpha1.Evidence) {
	t := s.t
	t.Helper()
	if r.Status.Evidence != evidence || r.Status.Heir != "host1" || r.Status.Ranges != 2 || r.Status.Addresses != 524288 ||
		r.Status.FencedTime == nil || r.Status.CompletionTime == nil || r.Status.PeerUID == "" || r.Status.ObservedGeneration != r.Generation {
		t.Fatalf("the removal says %+v", r.Status)
	}
	c := apimeta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Status != metav1.ConditionTrue || c.Message != sentence {
		t.Fatalf("Ready is %+v", c)
	}
	s.awaitOwned("host1", 3)
	if _, addresses, _ := s.owned("host1"); addresses != 786432 {
		t.Fatalf("host1 owns %d addresses", addresses)
	}
	audit(t, s.admin)
}

func TestAgentAcknowledged(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	threeHosts(s, script{})
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	expectTakenOver(s, s.awaitRemoved("host3"), v1alpha1.EvidenceAgentAcknowledged)
	await.Until(t, "the sentence as Events on both peers, on the removal and on the Node", func() error {
		var events corev1.EventList
		if err := s.admin.List(t.Context(), &events); err != nil {
			return err
		}
		var on []string
		for _, e := range events.Items {
			if e.Message == sentence {
				on = append(on, e.InvolvedObject.Kind+" "+e.InvolvedObject.Name)
			}
		}
		for _, want := range []string{"Peer host1", "Peer host3", "PeerRemoval host3", "Node host3"} {
			if !slices.Contains(on, want) {
				return fmt.Errorf("only on %v", on)
			}
		}
		return nil
	})
	// The Peer goes once its agent has acknowledged; its node stays out
	// until the declaration is deleted, and then joins as a new peer.
	await.Until(t, "the Peer to be gone", func() error { return isGone(s.get("host3", &v1alpha1.Peer{})) })
	var r v1alpha1.PeerRemoval
	if err := s.get("host3", &r); err != nil {
		t.Fatal(err)
	}
	if err := s.admin.Delete(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "host3 to be back as another incarnation", func() error {
		var p v1alpha1.Peer
		if err := s.get("host3", &p); err != nil {
			return err
		}
		if p.UID == r.Status.PeerUID {
			return errors.New("the same uid")
		}
		return nil
	})
}

func isGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("it is there (%w)", err)
}

func TestLeaseExpired(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	_, _, h3 := threeHosts(s, script{leaseSeconds: 2})
	h3.set(func(s *script) { s.dead = true })
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	await.Until(t, "the column to say what is waited for", func() error {
		return mentions(s.readyMessage(&v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: "host3"}}),
			"waiting for host3's lease to run out (", "s left), or proof that it is down")
	})
	r := s.awaitRemoved("host3")
	expectTakenOver(s, r, v1alpha1.EvidenceLeaseExpired)
	// It comes back: it is fenced, and its Peer can go.
	h3.set(func(s *script) { s.dead = false })
	await.Until(t, "the Peer to be gone", func() error { return isGone(s.get("host3", &v1alpha1.Peer{})) })
}

func TestAsserted(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	_, _, h3 := threeHosts(s, script{})
	h3.set(func(s *script) { s.dead = true })
	r := s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	await.Until(t, "Fencing", func() error {
		if err := s.get("host3", r); err != nil || r.Status.Phase != v1alpha1.RemovalFencing {
			return errors.New(s.explain("host3"))
		}
		return nil
	})
	r.Spec.AssertDown = true
	if err := s.admin.Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	expectTakenOver(s, s.awaitRemoved("host3"), v1alpha1.EvidenceAsserted)
}

func TestNodeOutOfService(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	// Its lease runs out all the same: the taint may have been forgotten.
	_, _, h3 := threeHosts(s, script{leaseSeconds: 2})
	h3.set(func(s *script) { s.dead = true })
	var node corev1.Node
	if err := s.get("host3", &node); err != nil {
		t.Fatal(err)
	}
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: v1alpha1.OutOfServiceTaint, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
	if err := s.admin.Update(t.Context(), &node); err != nil {
		t.Fatal(err)
	}
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	expectTakenOver(s, s.awaitRemoved("host3"), v1alpha1.EvidenceNodeOutOfService)
}

func TestNeverJoined(t *testing.T) {
	s := newStage(t)
	ctl := runController(t, controllerOptions{config: quick()})
	s.remove("nobody", v1alpha1.PeerRemovalSpec{})
	r := s.awaitRemoved("nobody")
	if r.Status.Evidence != v1alpha1.EvidenceNeverJoined || r.Status.Addresses != 0 {
		t.Fatalf("got %+v", r.Status)
	}
	await.Until(t, "the metric", func() error {
		if n := counter(t, ctl, "selvage_removals_total", "NeverJoined"); n != 1 {
			return fmt.Errorf("selvage_removals_total{evidence=NeverJoined} is %v", n)
		}
		return nil
	})
	// While it stands, that node does not join.
	s.pool("default", "10.64.0.0/16", 24, 24)
	s.add("nobody", script{})
	s.add("host1", script{})
	s.awaitOwned("host1", 1)
	if err := isGone(s.get("nobody", &v1alpha1.Peer{})); err != nil {
		t.Fatal(err)
	}
	if err := s.admin.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.awaitOwned("nobody", 1)
}

func TestCancelInFencing(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	threeHosts(s, script{deaf: true})
	before := s.peer("host3")
	r := s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	await.Until(t, "Fencing", func() error {
		if p := s.peer("host3"); p.Status.Phase != v1alpha1.PhaseFencing {
			return errors.New(s.explain("host3"))
		}
		return nil
	})
	if err := s.admin.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the removal to be gone and host3 to be Active with all it had", func() error {
		if err := isGone(s.get("host3", &v1alpha1.PeerRemoval{})); err != nil {
			return err
		}
		p := s.peer("host3")
		if p.Status.Phase != v1alpha1.PhaseActive || p.Spec.Removal != nil || p.UID != before.UID || p.Status.Addresses != 524288 {
			return errors.New(s.explain("host3"))
		}
		return conditionIs(p.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue)
	})
	audit(t, s.admin)
}

func TestSecondHeirIsRefused(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	threeHosts(s, script{deaf: true})
	r := s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	r.Spec.Heir = "host2"
	err := s.admin.Update(t.Context(), r)
	if !apierrors.IsInvalid(err) {
		t.Fatalf("got %v", err)
	}
	if err := mentions(err.Error(), "heir host1"); err != nil {
		t.Fatal(err)
	}
}

func TestHeirsThatCannot(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	threeHosts(s, script{deaf: true})
	err := s.admin.Create(t.Context(), &v1alpha1.PeerRemoval{
		ObjectMeta: metav1.ObjectMeta{Name: "host3"}, Spec: v1alpha1.PeerRemovalSpec{Heir: "host3"},
	})
	if !apierrors.IsInvalid(err) || mentions(err.Error(), "its own heir") != nil {
		t.Fatalf("its own heir: %v", err)
	}

	r := s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host9"})
	s.awaitStalled("host3", "host9")
	if err := s.admin.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the cancel", func() error { return isGone(s.get("host3", &v1alpha1.PeerRemoval{})) })

	// A circle: each is the other's heir.
	a := s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host2"})
	s.remove("host2", v1alpha1.PeerRemovalSpec{Heir: "host3"})
	s.awaitStalled("host3", "host2")
	s.awaitStalled("host2", "host3")
	// One way out: cancel one, and the other goes on.
	if err := s.admin.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	done := s.awaitRemoved("host2")
	if done.Status.Heir != "host3" || done.Status.Addresses != 262144 {
		t.Fatalf("got %+v", done.Status)
	}
	audit(t, s.admin)
}

func TestLastPeer(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 24, 24)
	s.add("host1", script{})
	s.awaitOwned("host1", 1)
	r := s.remove("host1", v1alpha1.PeerRemovalSpec{Heir: "host2"})
	s.awaitStalled("host1", "host2")
	if err := s.admin.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the cancel", func() error { return isGone(s.get("host1", &v1alpha1.PeerRemoval{})) })
	s.remove("host1", v1alpha1.PeerRemovalSpec{})
	if r := s.awaitRemoved("host1"); r.Status.Addresses != 256 || r.Status.Heir != "" {
		t.Fatalf("got %+v", r.Status)
	}
	await.Until(t, "its range to be free space", func() error {
		var ranges v1alpha1.AddressRangeList
		if err := s.admin.List(t.Context(), &ranges); err != nil || len(ranges.Items) > 0 {
			return fmt.Errorf("%d ranges are left (%w)", len(ranges.Items), err)
		}
		return nil
	})
}
