// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// counter reads one value of a controller's own metrics.
func counter(t *testing.T, r *running, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			all := true
			for _, want := range labels {
				has := false
				for _, l := range m.GetLabel() {
					has = has || l.GetValue() == want
				}
				all = all && has
			}
			if all {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// A node is installed anew while its old instance is on record: the new one
// contends, the old one is removed, and the new one joins from scratch.
func TestContenderSupersedes(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 24, 24)
	a := s.add("host1", script{leaseSeconds: 2})
	s.add("host2", script{})
	s.awaitOwned("host1", 1)
	before := s.peer("host1")
	a.reimage()
	await.Until(t, "the new instance to own a range of its own", func() error {
		var p v1alpha1.Peer
		if err := s.get("host1", &p); err != nil {
			return err
		}
		if p.UID == before.UID || p.Status.Ranges != 1 {
			return errors.New(s.explain("host1"))
		}
		return nil
	})
	audit(t, s.admin)
}

func TestVanishedNode(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 24, 24)
	a := s.add("host1", script{leaseSeconds: 2})
	s.add("host2", script{})
	s.awaitOwned("host1", 1)
	s.awaitOwned("host2", 1)
	// With a live lease, a Node that is not there is no evidence.
	if err := s.admin.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "host1"}}); err != nil {
		t.Fatal(err)
	}
	held := s.peer("host1")
	a.mu.Lock()
	first := a.renewed
	a.mu.Unlock()
	await.Until(t, "three renewals", func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.renewed.Sub(first) < 3*time.Second {
			return errors.New("not yet")
		}
		return nil
	})
	if p := s.peer("host1"); p.UID != held.UID || p.Spec.Removal != nil {
		t.Fatalf("a live peer is being removed: %+v", p.Spec)
	}
	a.set(func(s *script) { s.dead = true })
	await.Until(t, "the peer and its range to be gone", func() error {
		if err := isGone(s.get("host1", &v1alpha1.Peer{})); err != nil {
			return errors.New(s.explain("host1"))
		}
		var ranges v1alpha1.AddressRangeList
		if err := s.admin.List(t.Context(), &ranges); err != nil || len(ranges.Items) != 1 {
			return fmt.Errorf("%d ranges (%w)", len(ranges.Items), err)
		}
		return nil
	})
	audit(t, s.admin)
}

// When too many nodes vanish at once, none of their peers is removed until a
// person says so.
func TestMassRemovalBreaker(t *testing.T) {
	s := newStage(t)
	config := quick()
	config.MaxRemovals = 0.1
	runController(t, controllerOptions{config: config})
	pool := s.pool("default", "10.64.0.0/16", 28, 28)
	var agents []*agent
	for i := range 6 {
		agents = append(agents, s.add(fmt.Sprintf("host%d", i), script{leaseSeconds: 2}))
	}
	for _, a := range agents {
		s.awaitOwned(a.name, 1)
	}
	for _, a := range agents[:5] {
		a.set(func(s *script) { s.dead = true })
		if err := s.admin.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.name}}); err != nil {
			t.Fatal(err)
		}
	}
	await.Until(t, "the pool to say that removals are held back", func() error {
		if err := s.get("default", pool); err != nil {
			return err
		}
		return conditionIs(pool.Status.Conditions, v1alpha1.ConditionRemovalsHeld, metav1.ConditionTrue)
	})
	for _, a := range agents {
		if p := s.peer(a.name); p.Spec.Removal != nil {
			t.Fatalf("the removal of %s was begun", a.name)
		}
	}
	// What people declare is not held back.
	s.remove("host0", v1alpha1.PeerRemovalSpec{Heir: "host5", AssertDown: true})
	s.awaitRemoved("host0")

	patch := client.MergeFrom(pool.DeepCopy())
	metav1.SetMetaDataAnnotation(&pool.ObjectMeta, v1alpha1.ReleaseAnnotation, "a rack was taken out")
	if err := s.admin.Patch(t.Context(), pool, patch); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the vanished nodes' peers to be gone", func() error {
		var peers v1alpha1.PeerList
		if err := s.admin.List(t.Context(), &peers); err != nil || len(peers.Items) != 1 {
			return fmt.Errorf("%d peers are left (%w); %s", len(peers.Items), err, s.explain("host1"))
		}
		return nil
	})
	audit(t, s.admin)
}

// The pool is full and a new peer has nothing: an idle range is asked back
// from the peer with most idle space.
func TestGiveBack(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/26", 28, 28) // four ranges
	rich := s.add("host1", script{headroom: 33})
	s.awaitOwned("host1", 3)
	rich.set(func(s *script) { s.headroom = 4 })
	s.add("host2", script{headroom: 4})
	s.awaitOwned("host2", 1)
	s.add("host3", script{headroom: 4})
	s.awaitOwned("host3", 1)
	s.awaitOwned("host1", 2)
	audit(t, s.admin)
}

// A finalizer was stripped by hand and the Peer deleted: its ranges take the
// same road as a removal's.
func TestOrphan(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 24, 24)
	a := s.add("host1", script{leaseSeconds: 2})
	s.add("host2", script{})
	s.awaitOwned("host1", 1)
	s.awaitOwned("host2", 1)
	a.set(func(s *script) { s.dead = true })
	glass := func(change func(*v1alpha1.Peer)) {
		await.Until(t, "breaking the glass", func() error {
			p := s.peer("host1")
			change(p)
			return s.admin.Update(t.Context(), p)
		})
	}
	glass(func(p *v1alpha1.Peer) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.BreakGlassAnnotation, "a test of the orphan rule")
	})
	glass(func(p *v1alpha1.Peer) { p.Finalizers = nil })
	if err := s.admin.Delete(t.Context(), s.peer("host1")); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the orphan's range to be free space", func() error {
		var ranges v1alpha1.AddressRangeList
		if err := s.admin.List(t.Context(), &ranges); err != nil || len(ranges.Items) != 1 {
			return fmt.Errorf("%+v (%w)", ranges.Items, err)
		}
		return nil
	})
	audit(t, s.admin)
}

// A peer that is told to leave goes, with all it has.
func TestLeaving(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 24, 24)
	a := s.add("host1", script{})
	s.add("host2", script{})
	s.awaitOwned("host1", 1)
	before := s.peer("host1")
	a.set(func(s *script) { s.leaving = true })
	await.Until(t, "the peer to be gone", func() error {
		var p v1alpha1.Peer
		if err := s.get("host1", &p); err == nil && p.UID == before.UID {
			return errors.New(s.explain("host1"))
		}
		a.set(func(s *script) { s.dead = true })
		return nil
	})
}

// A drain is waited for, by name; once only what a drain leaves is left on a
// cordoned node, the agent cuts that off.
func TestLivePeerWaitsForItsPods(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	_, _, h3 := threeHosts(s, script{deaf: true, leaseSeconds: 6})
	ranges := s.awaitOwned("host3", 2)
	pod := s.pod("web", "host3", ranges[0].Name)
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	await.Until(t, "the wait to name the pod", func() error {
		return mentions(s.readyMessage(&v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: "host3"}}), "web")
	})
	if err := s.admin.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	h3.set(func(s *script) { s.deaf = false })
	expectTakenOver(s, s.awaitRemoved("host3"), v1alpha1.EvidenceAgentAcknowledged)
}

// What is written once is not written again and again: a quiet cluster is
// left alone.
func TestNoBusyLoop(t *testing.T) {
	s := newStage(t)
	ctl := runController(t, controllerOptions{config: quick()})
	_, _, h3 := threeHosts(s, script{leaseSeconds: 8})
	h3.set(func(s *script) { s.dead = true })
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	await.Until(t, "Fencing", func() error {
		return mentions(s.readyMessage(&v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: "host3"}}), "s left)")
	})
	var r v1alpha1.PeerRemoval
	versions := map[string]bool{}
	await.Until(t, "the removal", func() error {
		if err := s.get("host3", &r); err != nil {
			return err
		}
		versions[r.ResourceVersion] = true
		if r.Status.Phase != v1alpha1.RemovalRemoved {
			return errors.New(string(r.Status.Phase))
		}
		return nil
	})
	// Accepted, Fencing, Transferring, what it waits for, Removed: some ten
	// writes, not one for every second of the countdown.
	if len(versions) > 12 {
		t.Errorf("the PeerRemoval was written %d times", len(versions))
	}
	for _, want := range []struct {
		name   string
		labels []string
		value  float64
	}{
		{"selvage_removals_total", []string{"LeaseExpired"}, 1},
		{"selvage_removal_phase_seconds", []string{"Fencing"}, 1},
		{"selvage_addresses", []string{"default", "assigned"}, 1048576},
	} {
		await.Until(t, want.name, func() error {
			if n := counter(t, ctl, want.name, want.labels...); n != want.value {
				return fmt.Errorf("%v is %v, want %v", want.labels, n, want.value)
			}
			return nil
		})
	}
	audit(t, s.admin)
}
