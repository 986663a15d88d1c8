// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"strings"
	"testing"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

const (
	oneHeir   = "this removal was declared with heir host1: delete it (cancel) before declaring another"
	otherHeir = "heir: host2"
)

// Two pipelines declare the same peer: the second is refused, and told the
// first's heir. The same heir is no conflict.
func TestTwoPipelines(t *testing.T) {
	s := newStage(t)
	first, second := s.flux(), s.flux()
	first.Spec.Wait, second.Spec.Wait, second.Name = false, false, "other"
	stays := s.pod(host3, "stays") // and so the removal waits
	before, ranges := s.peer(host3), s.owned(host3)
	_, err := first.reconcile(declared())
	s.must(err)
	r := s.awaitPhase(v1alpha1.RemovalFencing)

	removal := page.with("network/host3.yaml")
	changed := removal.edited("network/host3.yaml", "heir: host1", otherHeir)
	if _, err := second.reconcile(changed); err == nil || !strings.Contains(err.Error(), oneHeir) {
		t.Errorf("another pipeline with another heir: %v", err)
	}
	if _, err := first.reconcile(declared().edited("network/host3.yaml", "heir: host1", otherHeir)); err == nil || !strings.Contains(err.Error(), oneHeir) {
		t.Errorf("the same pipeline with another heir: %v", err)
	}
	if now := s.removal(); now.UID != r.UID || now.Spec.Heir != "host1" || now.Status.Phase != v1alpha1.RemovalFencing {
		t.Errorf("it has changed: %+v", now)
	}
	s.unharmed(host3, before, ranges)

	if _, err := second.reconcile(removal); err != nil {
		t.Errorf("another pipeline with the same heir: %v", err)
	}
	// The second owns the labels now; the first prunes only what is its own.
	if _, err := first.reconcile(reverted()); err != nil {
		t.Errorf("the first's revert: %v", err)
	}
	if now := s.removal(); now == nil || now.UID != r.UID || now.DeletionTimestamp != nil {
		t.Errorf("the first's revert has cancelled what the second declares: %+v", now)
	}
	_, err = second.reconcile(examples{})
	s.must(err)
	s.awaitNoRemoval()
	s.unharmed(host3, before, ranges)
	s.must(stays.End())
}
