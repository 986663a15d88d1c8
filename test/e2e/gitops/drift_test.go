// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// The same manifests are applied again and again, from before the removal until
// after it: the engine never sees a drift, and undoes nothing of what the
// controller writes meanwhile.
func TestDriftCorrection(t *testing.T) {
	s := newStage(t)
	f := s.flux()
	f.Spec.Wait = false
	_, err := f.reconcile(reverted())
	s.must(err)
	host3.Down()
	rounds := map[ssa.Action]int{}
	await.Until(s, "the removal to be over, under correction", func() error {
		for {
			changes, err := f.reconcile(declared())
			s.must(err)
			for _, e := range changes.Entries {
				rounds[e.Action]++
			}
			if s.removal().Status.Phase == v1alpha1.RemovalRemoved {
				return nil
			}
		}
	})
	t.Logf("rounds by action: %v", rounds)
	if rounds[ssa.CreatedAction] != 1 || rounds[ssa.ConfiguredAction] != 0 || rounds[ssa.UnchangedAction] < 10 {
		t.Errorf("the removal is created once, and then there is no drift: %v", rounds)
	}
	s.settled(f)
	s.onlyForward(string(s.removal().UID))
	for _, o := range []client.Object{s.removal(), s.pool()} {
		s.disjoint(o)
	}
	host3.Up()
	_, err = f.reconcile(reverted())
	s.must(err)
}

func (s *stage) pool() *v1alpha1.AddressPool {
	s.Helper()
	p := &v1alpha1.AddressPool{}
	s.must(cluster.Admin.Get(s.ctx(), client.ObjectKey{Name: "default"}, p))
	return p
}

// onlyForward looks at all versions that there were of a removal: no phase came
// twice, and what the controller has put there stayed.
func (s *stage) onlyForward(uid string) {
	s.Helper()
	order := []string{"", string(v1alpha1.RemovalPending), string(v1alpha1.RemovalFencing), string(v1alpha1.RemovalTransferring), string(v1alpha1.RemovalRemoved)}
	at, held := 0, false
	for _, o := range seen.all("PeerRemoval") {
		if string(o.GetUID()) != uid {
			continue
		}
		phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
		now := slices.Index(order, phase)
		if now < at {
			s.Errorf("it went back from %s to %q", order[at], phase)
		}
		at = now
		has := slices.Contains(o.GetFinalizers(), v1alpha1.RemovalFinalizer)
		if held && !has {
			s.Errorf("the controller's finalizer was taken off, at phase %s", phase)
		}
		held = held || has
	}
	if at != len(order)-1 || !held {
		s.Errorf("what was seen ended at phase %q, with the finalizer seen: %t", order[at], held)
	}
}

// disjoint fails if a field of Selvage's is somebody else's, too: each would
// write over the other.
func (s *stage) disjoint(o client.Object) {
	s.Helper()
	type owned struct {
		metav1.ManagedFieldsEntry
		fields *fieldpath.Set
	}
	var all []owned
	for _, entry := range o.GetManagedFields() {
		fields := &fieldpath.Set{}
		s.must(fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())))
		all = append(all, owned{entry, fields.Leaves()})
	}
	controllers := 0
	for i, a := range all {
		if a.Manager == "selvage-controller" {
			controllers++
		}
		for _, b := range all[i+1:] {
			ours := strings.HasPrefix(a.Manager, "selvage-") || strings.HasPrefix(b.Manager, "selvage-")
			if both := a.fields.Intersection(b.fields); ours && a.Manager != b.Manager && !both.Empty() {
				s.Errorf("%T: %s and %s both own %s", o, a.Manager, b.Manager, both)
			}
		}
	}
	if controllers == 0 || len(all) < 2 {
		s.Errorf("%T has no fields of the controller's, or none of anyone else's", o)
	}
}
