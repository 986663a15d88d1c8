// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	fieldOwner = "selvage-install"
	crdKind    = "CustomResourceDefinition"
	// installLimit bounds each wait; it usually takes a second or two.
	installLimit = 2 * time.Minute
)

// Install renders kustomize folders and applies them in the order of the
// arguments: in each, definitions first, admission last. It returns once the
// definitions are served and the policies are seen to refuse.
func (cp *ControlPlane) Install(ctx context.Context, dirs ...string) error {
	c, err := client.New(cp.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	policies := false
	for _, dir := range dirs {
		objects, err := cp.render(ctx, dir)
		if err != nil {
			return err
		}
		if err := applyAll(ctx, c, objects); err != nil {
			return fmt.Errorf("installing %s: %w", dir, err)
		}
		policies = policies || slices.ContainsFunc(objects, isAdmission)
	}
	if !policies {
		return nil
	}
	return cp.awaitPolicies(ctx, c)
}

// render runs the kustomize that kubectl carries.
func (cp *ControlPlane) render(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	cmd := exec.CommandContext(ctx, cp.Kubectl, "kustomize", dir)
	out, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("rendering %s: %w: %s", dir, err, stderr)
	}
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(out, 1<<16)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what %s renders to: %w", dir, err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return objects, nil
}

// rank is the order of application. Bindings come after all policies, and
// both after what they would refuse.
func rank(o *unstructured.Unstructured) int {
	switch {
	case o.GetKind() == crdKind:
		return 0
	case o.GetKind() == "Namespace":
		return 1
	case !isAdmission(o):
		return 2
	case !strings.HasSuffix(o.GetKind(), "Binding"):
		return 3
	default:
		return 4
	}
}

func isAdmission(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == admissionv1.GroupName
}

func applyAll(ctx context.Context, c client.Client, objects []*unstructured.Unstructured) error {
	established := false
	for _, o := range objects {
		if !established && o.GetKind() != crdKind {
			established = true
			if err := awaitDefinitions(ctx, c, objects); err != nil {
				return err
			}
		}
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(fieldOwner), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("applying %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return awaitDefinitions(ctx, c, objects)
}

// awaitDefinitions waits until every definition among the objects is served.
func awaitDefinitions(ctx context.Context, c client.Client, objects []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	for _, o := range objects {
		if o.GetKind() != crdKind {
			continue
		}
		err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			now := &unstructured.Unstructured{}
			now.SetGroupVersionKind(o.GroupVersionKind())
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
				return false, err
			}
			return isTrue(now, "Established"), nil
		})
		if err != nil {
			return fmt.Errorf("waiting for %s to be Established: %w", o.GetName(), err)
		}
	}
	return nil
}

func isTrue(o *unstructured.Unstructured, condition string) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == condition {
			return m["status"] == "True"
		}
	}
	return false
}

// awaitPolicies waits until policies bind. The API server reads policies, and
// bindings, in the order of their writing and puts them to use together: so
// once one written last refuses, all before it do. That one is then deleted.
func (cp *ControlPlane) awaitPolicies(ctx context.Context, c client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	name := "selvage-install-" + rand.String(8)
	policy, binding := sentinel(name)
	for _, o := range []client.Object{policy, binding} {
		if err := c.Create(ctx, o); err != nil {
			return fmt.Errorf("making the policy that shows that policies bind: %w", err)
		}
	}
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault}}
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := c.Create(ctx, probe.DeepCopy(), client.DryRunAll)
		if err == nil || apierrors.IsNotFound(err) { // the default namespace comes a moment after readiness
			return false, nil
		}
		if !strings.Contains(err.Error(), name) {
			return false, err
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the admission policies to refuse: %w", err)
	}
	return errors.Join(c.Delete(ctx, binding), c.Delete(ctx, policy))
}

// sentinel refuses config maps of one name, which nobody makes in earnest.
func sentinel(name string) (*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding) {
	fail := admissionv1.Fail
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "object.metadata.name != '" + name + "'", Message: name}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	return policy, binding
}
