// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// conditionIs says what is missing for a condition to have a status.
func conditionIs(conditions []metav1.Condition, kind string, status metav1.ConditionStatus) error {
	c := apimeta.FindStatusCondition(conditions, kind)
	if c == nil || c.Status != status {
		return fmt.Errorf("%s is not %s: %+v", kind, status, conditions)
	}
	return nil
}

func (s *stage) awaitReady(name string) {
	s.t.Helper()
	await.Until(s.t, "Peer "+name+" to be Ready", func() error {
		var p v1alpha1.Peer
		if err := s.get(name, &p); err != nil {
			return err
		}
		return conditionIs(p.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue)
	})
}

func TestJoinGrowAndColumns(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.32.0.0/12", 14, 14)
	for _, name := range []string{"host1", "host2"} {
		s.add(name, script{})
	}
	// host3 wants more than one range holds.
	s.add("host3", script{headroom: 262145})
	s.awaitOwned("host1", 1)
	s.awaitOwned("host2", 1)
	s.awaitOwned("host3", 2)
	await.Until(t, "the columns", func() error {
		p := s.peer("host3")
		if p.Status.Ranges != 2 || p.Status.Addresses != 524288 || p.Status.Phase != v1alpha1.PhaseActive || p.Status.ObservedGeneration != p.Generation {
			return fmt.Errorf("%+v", p.Status)
		}
		return conditionIs(p.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue)
	})
	await.Until(t, "the pool's counts", func() error {
		var p v1alpha1.AddressPool
		if err := s.get("default", &p); err != nil {
			return err
		}
		if a := p.Status.Addresses; a == nil || a.Total != "1048576" || a.Assigned != "1048576" || a.Free != "0" {
			return fmt.Errorf("%+v", p.Status.Addresses)
		}
		return errors.Join(
			conditionIs(p.Status.Conditions, v1alpha1.ConditionAccepted, metav1.ConditionTrue),
			conditionIs(p.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue),
			conditionIs(p.Status.Conditions, v1alpha1.ConditionExhausted, metav1.ConditionTrue))
	})
	audit(t, s.admin)
}

func TestDualStack(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("four", "10.64.0.0/16", 24, 20)
	s.pool("six", "fd00:10::/64", 120, 116)
	s.add("host1", script{})
	ranges := s.awaitOwned("host1", 2)
	families := map[string]bool{}
	for _, r := range ranges {
		families[r.Spec.Pool] = true
	}
	if !families["four"] || !families["six"] {
		t.Fatalf("got %+v", ranges)
	}
	s.awaitReady("host1")
	audit(t, s.admin)
}

// Use rises above the low-water mark: the next range is granted before the
// peer runs dry, and is twice as large.
func TestGrowthDoubles(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.64.0.0/16", 28, 24)
	a := s.add("host1", script{headroom: 4})
	first := s.awaitOwned("host1", 1)
	a.set(func(s *script) { s.holds = map[string]int64{first[0].Name: 14} })
	ranges := s.awaitOwned("host1", 2)
	var total int64
	for _, r := range ranges {
		total += sizeOf(r.Spec.CIDR)
	}
	if total != 16+32 {
		t.Fatalf("it has %d addresses, want 16 + 32: %+v", total, ranges)
	}
	audit(t, s.admin)
}

func TestOverlappingPoolIsNotAccepted(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	s.pool("default", "10.32.0.0/12", 14, 14)
	await.Until(t, "the first pool to be accepted", func() error {
		var p v1alpha1.AddressPool
		if err := s.get("default", &p); err != nil {
			return err
		}
		return conditionIs(p.Status.Conditions, v1alpha1.ConditionAccepted, metav1.ConditionTrue)
	})
	s.pool("second", "10.40.0.0/16", 24, 24)
	await.Until(t, "the second pool to be refused by name", func() error {
		var p v1alpha1.AddressPool
		if err := s.get("second", &p); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionAccepted)
		if c == nil || c.Status != metav1.ConditionFalse {
			return fmt.Errorf("%+v", p.Status.Conditions)
		}
		return mentions(c.Message, "default")
	})
}

// A pool that is deleted goes only once no range of it exists.
func TestPoolDeletionWaits(t *testing.T) {
	s := newStage(t)
	runController(t, controllerOptions{config: quick()})
	pool := s.pool("default", "10.64.0.0/16", 24, 24)
	s.add("host1", script{})
	s.awaitOwned("host1", 1)
	if err := s.admin.Delete(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the pool to say what it waits for", func() error {
		var p v1alpha1.AddressPool
		if err := s.get("default", &p); err != nil {
			return err
		}
		return conditionIs(p.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionFalse)
	})
	s.remove("host1", v1alpha1.PeerRemovalSpec{})
	s.awaitRemoved("host1")
	await.Until(t, "the pool to be gone", func() error {
		var p v1alpha1.AddressPool
		if err := s.get("default", &p); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%+v %w", p.Status.Conditions, err)
		}
		return nil
	})
}
