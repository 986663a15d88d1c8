// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// declared and reverted are what git has: host3 is out, and it is not.
func declared() examples { return page.with("network/pool.yaml", "network/host3.yaml") }
func reverted() examples { return page.with("network/pool.yaml") }

// A machine dies and is declared out; the pipeline waits until its ranges are
// the heir's; the revert lets it join anew.
func TestRemoval(t *testing.T) {
	s := newStage(t)
	f := s.flux()
	_, err := f.reconcile(reverted())
	s.must(err)
	first, ranges, inherited := s.peer(host3), s.owned(host3), s.owned(host1)
	pod := s.pod(host3, "removed")

	host3.Down()
	changes, err := f.reconcile(declared())
	s.must(err)
	if got := changes.ToMap()["PeerRemoval/host3"]; got != ssa.CreatedAction {
		t.Errorf("the removal was %s", got)
	}
	r := s.removal()
	said := fmt.Sprintf("%d IPs taken over from host3", 256*len(ranges))
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady); r.Status.Phase != v1alpha1.RemovalRemoved || c == nil || c.Message != said {
		t.Fatalf("Flux has done waiting, and it is not so that %q: %+v", said, r.Status)
	}
	want := append(slices.Clone(inherited), ranges...)
	slices.Sort(want)
	if owned := s.owned(host1); !slices.Equal(owned, want) {
		t.Errorf("the heir owns %v, and not %v", owned, want)
	}
	s.settled(f)

	host3.Up()
	await.Until(s, "host3 to find itself declared out", func() error {
		p, err := host3.Progress(s.ctx())
		if err == nil && p.Row != "DeclaredOut" {
			err = fmt.Errorf("%+v", p)
		}
		return err
	})
	s.must(pod.End())
	_, err = f.reconcile(reverted())
	s.must(err)
	await.Until(s, "host3 to join anew", func() error { return s.serves(host3) })
	if again := s.peer(host3); again.UID == first.UID {
		t.Error("it is the same incarnation")
	}
	s.must(s.pod(host3, "anew").End())
}

// settled reconciles what is there already, which is to write nothing.
func (s *stage) settled(f *flux) {
	s.Helper()
	before := s.removal()
	for range 3 {
		changes, err := f.reconcile(declared())
		s.must(err)
		for _, e := range changes.Entries {
			if e.Action != ssa.UnchangedAction {
				s.Errorf("a second round: %v", e)
			}
		}
	}
	if after := s.removal(); after.ResourceVersion != before.ResourceVersion {
		s.Errorf("applying the same has changed it from %+v to %+v", before, after)
	}
}

// A live peer with a pod is declared out by mistake. The pipeline is in
// progress; the revert cancels, and neither peer nor pod has lost anything.
func TestRevert(t *testing.T) {
	s := newStage(t)
	f := s.flux()
	_, err := f.reconcile(reverted())
	s.must(err)
	here, there := s.pod(host3, "here"), s.pod(host1, "there")
	before, ranges := s.peer(host3), s.owned(host3)

	f.Spec.Timeout.Duration = leaseTime
	_, err = f.reconcile(declared())
	if err == nil || !strings.Contains(err.Error(), "PeerRemoval/host3 status: 'InProgress'") {
		t.Fatalf("the removal waits for a drain, and Flux says: %v", err)
	}
	f.Spec.Timeout.Duration = await.Limit
	s.awaitPhase(v1alpha1.RemovalFencing)
	s.reach(here, there)

	_, err = f.reconcile(reverted())
	s.must(err)
	s.awaitNoRemoval()
	await.Until(s, "host3 to serve again", func() error { return s.serves(host3) })
	s.unharmed(host3, before, ranges)
	s.reach(here, there)
	if !here.Connected() {
		t.Error("its pod has lost its network")
	}
	s.must(errors.Join(here.End(), there.End()))
}
