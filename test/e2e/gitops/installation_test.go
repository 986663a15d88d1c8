// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

// The installation itself comes from git: the API server's defaults are no
// drift, and kinds that have gone from git stay while they have objects.
func TestInstallation(t *testing.T) {
	s := newStage(t)
	l := s.live()
	network, f := s.flux(), s.flux()
	network.Spec.Wait = false
	_, err := network.reconcile(declared()) // so that each kind has an object
	s.must(err)
	s.awaitPhase(v1alpha1.RemovalFencing)
	f.as(cluster.Plane.Config) // it makes roles, and so has them
	f.Spec.Path, f.Spec.Wait = "config", false
	source, err := controlplane.SourceDir()
	s.must(err)
	tree := examples{}
	for _, dir := range []string{"default", "crd-guard"} {
		text, err := kubectl(s.ctx(), "", "kustomize", source+"/config/"+dir)
		s.must(err)
		tree["config/"+dir+".yaml"] = text
	}
	_, err = f.reconcile(tree)
	s.must(err)
	changes, err := f.reconcile(tree)
	s.must(err)
	for _, e := range changes.Entries {
		if e.Action != ssa.UnchangedAction {
			t.Errorf("applied again: %v", e)
		}
	}
	if len(changes.Entries) < 40 {
		t.Errorf("only %d objects are installed", len(changes.Entries))
	}
	l.lives()

	bare := examples{"config/crd-guard.yaml": tree["config/crd-guard.yaml"]}
	for _, one := range strings.Split(tree["config/default.yaml"], "\n---\n") {
		if !strings.Contains(one, "\nkind: CustomResourceDefinition\n") {
			bare["config/default.yaml"] += one + "\n---\n"
		}
	}
	_, err = f.reconcile(bare)
	for _, kind := range []string{"addresspools", "addressranges", "peers", "peerremovals"} {
		if err == nil || !strings.Contains(err.Error(), "selvage-"+kind+"-crd-stays") {
			t.Errorf("the kind of the %s was pruned: %v", kind, err)
		}
	}
	l.end(func() error {
		_, err := network.reconcile(reverted())
		return err
	})
}
