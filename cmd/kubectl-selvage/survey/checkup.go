// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"context"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/checkup"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Labels of the installation's objects.
const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
	product        = "selvage"
)

// Checkup reads what a checkup judges. What cannot be read is noted.
func Checkup(ctx context.Context, c client.Reader, cluster Cluster, namespace string) *checkup.Cluster {
	all := &checkup.Cluster{State: Read(ctx, c, namespace, inventory.Pools, inventory.Removals, inventory.Peers, inventory.Ranges, inventory.Leases, inventory.Nodes)}
	note := func(p inventory.Part, err error) {
		if err != nil {
			all.Unread[p] = err
		}
	}
	var kinds apiextensionsv1.CustomResourceDefinitionList
	note(checkup.Kinds, c.List(ctx, &kinds))
	all.Kinds = kinds.Items

	var policies admissionv1.ValidatingAdmissionPolicyList
	var bindings admissionv1.ValidatingAdmissionPolicyBindingList
	note(checkup.Policies, c.List(ctx, &policies))
	note(checkup.Policies, c.List(ctx, &bindings))
	all.Policies, all.Bindings = policies.Items, bindings.Items

	pods, err := Installed(ctx, c, namespace)
	note(checkup.Ours, err)
	for _, p := range pods {
		switch p.Labels[componentLabel] {
		case "agent":
			all.Agents = append(all.Agents, p)
		case "controller":
			all.Controllers = append(all.Controllers, p)
		}
	}
	var service corev1.Service
	note(checkup.Service, c.Get(ctx, client.ObjectKey{Namespace: "default", Name: "kubernetes"}, &service))
	all.ServiceIP = service.Spec.ClusterIP

	asker, err := discovery.NewDiscoveryClientForConfigAndClient(cluster.Config, cluster.HTTP)
	if err == nil {
		version, verr := asker.ServerVersion()
		if err = verr; err == nil {
			all.Server = *version
		}
	}
	note(checkup.Server, err)
	return all
}

// Installed are the installation's pods.
func Installed(ctx context.Context, c client.Reader, namespace string) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{nameLabel: product})
	return pods.Items, err
}
