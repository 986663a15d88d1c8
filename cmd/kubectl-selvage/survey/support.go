// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/checkup"
)

// Holding is one kind of object that a maintainer asks for.
type Holding struct {
	Kind schema.GroupVersionKind
	// Namespaced: only those of Selvage's namespace.
	Namespaced bool
	// Labelled: only those that carry the installation's label.
	Labelled bool
	// Keep says which of them; nil keeps all.
	Keep func(*unstructured.Unstructured) bool
}

// Holdings are what a maintainer asks for. Secrets are not among them, nor is
// any kind that could hold one unlabelled.
func Holdings() []Holding {
	kind := func(group, version, kind string) schema.GroupVersionKind {
		return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
	}
	ours := func(o *unstructured.Unstructured) bool {
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		return group == v1alpha1.GroupVersion.Group
	}
	policies := checkup.PolicyNames()
	policy := func(o *unstructured.Unstructured) bool { return slices.Contains(policies, o.GetName()) }
	all := []Holding{
		{Kind: kind("coordination.k8s.io", "v1", "Lease"), Namespaced: true, Keep: func(o *unstructured.Unstructured) bool {
			return o.GetName() == v1alpha1.LeaderLease || strings.HasPrefix(o.GetName(), v1alpha1.LeasePrefix)
		}},
		{Kind: kind("", "v1", "Node")},
		{Kind: kind("", "v1", "Event"), Keep: func(o *unstructured.Unstructured) bool {
			group := fmt.Sprint(nested(o, "involvedObject", "apiVersion"))
			by := fmt.Sprint(nested(o, "reportingComponent"), nested(o, "source", "component"))
			return strings.HasPrefix(group, v1alpha1.GroupVersion.Group) || strings.Contains(by, product)
		}},
		{Kind: kind("", "v1", "Pod"), Namespaced: true, Labelled: true},
		{Kind: kind("", "v1", "ConfigMap"), Namespaced: true, Labelled: true},
		{Kind: kind("apps", "v1", "DaemonSet"), Namespaced: true, Labelled: true},
		{Kind: kind("apps", "v1", "Deployment"), Namespaced: true, Labelled: true},
		{Kind: kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), Keep: ours},
		{Kind: kind("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"), Keep: policy},
		{Kind: kind("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"), Keep: policy},
	}
	for _, k := range []string{"AddressPool", "AddressRange", "Peer", "PeerRemoval"} {
		all = append(all, Holding{Kind: v1alpha1.GroupVersion.WithKind(k)})
	}
	return all
}

func nested(o *unstructured.Unstructured, fields ...string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(o.Object, fields...)
	return v
}

// List reads a holding.
func (h Holding) List(ctx context.Context, c client.Reader, namespace string) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(h.Kind.GroupVersion().WithKind(h.Kind.Kind + "List"))
	var options []client.ListOption
	if h.Namespaced {
		options = append(options, client.InNamespace(namespace))
	}
	if h.Labelled {
		options = append(options, client.MatchingLabels{nameLabel: product})
	}
	if err := c.List(ctx, list, options...); err != nil {
		return nil, err
	}
	if h.Keep == nil {
		return list.Items, nil
	}
	return slices.DeleteFunc(list.Items, func(o unstructured.Unstructured) bool { return !h.Keep(&o) }), nil
}

// LogLimit bounds what is read of one container.
type LogLimit struct {
	Lines, Bytes int64
	// Time is for one log to come.
	Time time.Duration
}

// Logs reads the end of a container's log, or of that of the run before; empty
// if there was no run before.
func Logs(ctx context.Context, c Cluster, pod *corev1.Pod, container string, previous bool, limit LogLimit) (string, error) {
	core, err := corev1client.NewForConfigAndClient(c.Config, c.HTTP)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, limit.Time)
	defer cancel()
	stream, err := core.Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, Previous: previous, TailLines: &limit.Lines, LimitBytes: &limit.Bytes, Timestamps: true,
	}).Stream(ctx)
	if previous && (apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	// The server bounds it too; this one is ours.
	text, err := io.ReadAll(io.LimitReader(stream, limit.Bytes))
	return string(text), errors.Join(err, stream.Close())
}
