// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

// What Flux's kustomize-controller calls itself, and its selectors.
// https://fluxcd.io/flux/components/kustomize/kustomizations/
const fluxGroup = "kustomize.toolkit.fluxcd.io"

// flux does what Flux's kustomize-controller does for one Kustomization, with
// the engine that it is made of: it applies what is in git, deletes what it had
// applied before and is there no more, and waits.
type flux struct {
	*stage
	kustomizev1.Kustomization
	engine    *ssa.ResourceManager
	inventory []*unstructured.Unstructured
}

// flux runs the page's Kustomization, with the rights that it names.
func (s *stage) flux() *flux {
	s.Helper()
	f := &flux{stage: s}
	s.must(yaml.UnmarshalStrict([]byte(page["flux/network.yaml"]), &f.Kustomization))
	_, config, err := cluster.Plane.KubeconfigFor(s.ctx(), f.Namespace, f.Spec.ServiceAccountName, nil)
	s.must(err)
	f.as(config)
	return f
}

// as gives it other rights.
func (f *flux) as(config *rest.Config) {
	f.Helper()
	connection, err := rest.HTTPClientFor(config)
	f.must(err)
	mapper, err := apiutil.NewDynamicRESTMapper(config, connection)
	f.must(err)
	c, err := client.New(config, client.Options{Mapper: mapper})
	f.must(err)
	f.engine = ssa.NewResourceManager(c, polling.NewStatusPoller(c, mapper, polling.Options{}), ssa.Owner{
		Field: "kustomize-controller", Group: fluxGroup,
	})
}

// reconcile is one round: apply, prune, wait.
func (f *flux) reconcile(tree examples) (*ssa.ChangeSet, error) {
	ctx, cancel := context.WithTimeout(f.ctx(), f.Spec.Timeout.Duration)
	defer cancel()
	changes, err := f.apply(ctx, tree)
	if err != nil || !f.Spec.Wait {
		return changes, err
	}
	return changes, f.wait(ctx, changes)
}

func (f *flux) wait(ctx context.Context, changes *ssa.ChangeSet) error {
	return f.engine.WaitForSetWithContext(ctx, changes.ToObjMetadataSet(), ssa.WaitOptions{Interval: time.Second, Timeout: f.Spec.Timeout.Duration, FailFast: true})
}

func (f *flux) apply(ctx context.Context, tree examples) (*ssa.ChangeSet, error) {
	objects, err := f.build(tree)
	if err != nil {
		return nil, err
	}
	changes, err := f.engine.ApplyAllStaged(ctx, objects, f.applyOptions())
	if err != nil {
		return changes, err
	}
	stale := slices.DeleteFunc(f.inventory, func(o *unstructured.Unstructured) bool {
		return slices.ContainsFunc(objects, func(n *unstructured.Unstructured) bool {
			return utils.FmtUnstructured(n) == utils.FmtUnstructured(o)
		})
	})
	f.inventory = append(objects, stale...) // until they are deleted
	if f.Spec.Prune && len(stale) > 0 {
		deleted, err := f.engine.DeleteAll(ctx, stale, ssa.DeleteOptions{
			PropagationPolicy: "Background",
			Inclusions:        f.engine.GetOwnerLabels(f.Name, f.Namespace),
			Exclusions:        map[string]string{fluxGroup + "/prune": "disabled", fluxGroup + "/reconcile": "disabled"},
		})
		if err != nil {
			return changes, err
		}
		f.Logf("pruned: %v", deleted.Entries)
	}
	f.inventory = objects
	return changes, nil
}

// build reads the files below the Kustomization's path.
func (f *flux) build(tree examples) (objects []*unstructured.Unstructured, err error) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if path.Dir(name) != path.Clean(f.Spec.Path) {
			return nil, fmt.Errorf("%s is not in %s", name, f.Spec.Path)
		}
		some, err := utils.ReadObjects(strings.NewReader(tree[name]))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		objects = append(objects, some...)
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return nil, err
	}
	f.engine.SetOwnerLabels(objects, f.Name, f.Namespace)
	return objects, nil
}

func (f *flux) applyOptions() ssa.ApplyOptions {
	o := ssa.DefaultApplyOptions()
	o.Force = f.Spec.Force
	o.ForceSelector = map[string]string{fluxGroup + "/force": "enabled"}
	o.ExclusionSelector = map[string]string{fluxGroup + "/reconcile": "disabled", fluxGroup + "/ssa": "ignore"}
	o.IfNotPresentSelector = map[string]string{fluxGroup + "/ssa": "ifnotpresent"}
	// What people typed is taken over, as they are told.
	for _, manager := range []string{"kubectl", "before-first-apply"} {
		for _, operation := range []metav1.ManagedFieldsOperationType{metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate} {
			o.Cleanup.FieldManagers = append(o.Cleanup.FieldManagers, ssa.FieldManager{Name: manager, OperationType: operation})
		}
	}
	return o
}
