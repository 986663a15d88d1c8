// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// A pod that carries an address of the removed peer keeps it reserved with the
// heir until it is gone.
func TestReservations(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	_, _, h3 := threeHosts(s, script{})
	ranges := s.awaitOwned("host3", 2)
	pod := s.pod("web", "host3", ranges[0].Name)
	h3.set(func(s *script) { s.dead = true })
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1", AssertDown: true})
	s.awaitRemoved("host3")
	reserved := func() []v1alpha1.Reservation {
		var r v1alpha1.AddressRange
		if err := s.get(ranges[0].Name, &r); err != nil {
			t.Fatal(err)
		}
		return r.Spec.Reserved
	}
	if got := reserved(); len(got) != 1 || got[0].PodUID != pod.UID || got[0].Address != ranges[0].Name {
		t.Fatalf("reserved: %+v", got)
	}
	if err := s.admin.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the reservation to be let go", func() error {
		if got := reserved(); len(got) > 0 {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	audit(t, s.admin)
}

// A survivor that says nothing holds the barrier until its lease has run out
// and is sealed.
func TestBarrierWaitsForSurvivors(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	_, h2, _ := threeHosts(s, script{})
	h2.set(func(s *script) { s.numb = true })
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	await.Until(t, "the wait to name host2", func() error {
		p := s.peer("host3")
		if p.Status.Phase != v1alpha1.PhaseTransferring {
			return errors.New(s.explain("host3"))
		}
		return mentions(s.readyMessage(&v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: "host3"}}), "host2")
	})
	if got, _, _ := s.owned("host3"); len(got) != 2 {
		t.Fatalf("ranges moved before the barrier: %d are left", len(got))
	}
	h2.set(func(s *script) { s.numb = false })
	expectTakenOver(s, s.awaitRemoved("host3"), v1alpha1.EvidenceAgentAcknowledged)
}

func TestBarrierExemptsTheSilent(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 24, 24)
	for _, name := range []string{"host1", "host3"} {
		s.add(name, script{})
	}
	silent := s.add("host2", script{leaseSeconds: 2})
	for _, name := range []string{"host1", "host2", "host3"} {
		s.awaitOwned(name, 1)
	}
	silent.set(func(s *script) { s.dead = true })
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	s.awaitRemoved("host3")
	await.Until(t, "an Event that names the exempt peer", func() error {
		var events corev1.EventList
		if err := s.admin.List(t.Context(), &events); err != nil {
			return err
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, "host2") && strings.Contains(e.Message, "host3") {
				return nil
			}
		}
		return errors.New("none yet")
	})
	// It comes back, takes its lease again, and is Ready.
	silent.set(func(s *script) { s.dead = false })
	s.awaitReady("host2")
	audit(t, s.admin)
}
