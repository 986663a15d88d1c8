// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package install

import (
	"context"
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// objects are what a folder renders to, as kubectl reads them back.
func (c *cluster) objects(ctx context.Context, dir string) []unstructured.Unstructured {
	GinkgoHelper()
	out := c.must(ctx, "get", "-k", dir, "-o", "yaml")
	list := unstructured.UnstructuredList{}
	Expect(yaml.Unmarshal([]byte(out), &list)).To(Succeed())
	if len(list.Items) == 0 { // one alone is no list
		one := unstructured.Unstructured{}
		Expect(yaml.Unmarshal([]byte(out), &one.Object)).To(Succeed())
		list.Items = append(list.Items, one)
	}
	return list.Items
}

// specs are the objects of a folder, by what they are, without what is not
// applied.
func (c *cluster) specs(ctx context.Context, dir string) map[string]string {
	GinkgoHelper()
	specs := map[string]string{}
	for _, o := range c.objects(ctx, dir) {
		o := o.DeepCopy()
		for _, field := range [][]string{{"status"}, {"metadata", "resourceVersion"}, {"metadata", "managedFields"}} {
			unstructured.RemoveNestedField(o.Object, field...)
		}
		text, err := json.Marshal(o.Object)
		Expect(err).NotTo(HaveOccurred())
		specs[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = string(text)
	}
	Expect(specs).NotTo(BeEmpty())
	return specs
}

// expectUnchanged applies a folder that was applied before.
func (c *cluster) expectUnchanged(ctx context.Context, dir string) {
	GinkgoHelper()
	before := c.specs(ctx, dir)
	c.must(ctx, "apply", "-k", dir)
	after := c.specs(ctx, dir)
	Expect(after).To(HaveLen(len(before)))
	for name, text := range after {
		Expect(text).To(Equal(before[name]), name)
	}
}

var _ = Describe("applying", Ordered, func() {
	var c *cluster
	BeforeAll(func(ctx SpecContext) {
		c = boot(ctx)
		c.install(ctx)
	}, NodeTimeout(bootLimit))

	It("changes nothing the second time", func(ctx SpecContext) {
		for _, dir := range []string{"default", "crd-guard", "pool"} {
			c.expectUnchanged(ctx, config+dir)
		}
	})

	It("names images that a node which has them loaded does not pull", func(ctx SpecContext) {
		seen := map[string]string{}
		for _, containers := range c.podTemplates(ctx) {
			for _, one := range containers {
				Expect(one.ImagePullPolicy).To(Equal(corev1.PullIfNotPresent), one.Name)
				seen[one.Name] = one.Image
			}
		}
		Expect(seen).To(Equal(map[string]string{"agent": "localhost/selvage-agent:dev", "controller": "localhost/selvage-controller:dev"}))
	})

	It("makes a namespace that lets the agent in where pods are restricted", func(ctx SpecContext) {
		ns := &corev1.Namespace{}
		Expect(c.Get(ctx, client.ObjectKey{Name: namespace}, ns)).To(Succeed())
		Expect(ns.Labels).To(HaveKeyWithValue("pod-security.kubernetes.io/enforce", "privileged"))
		// And it is needed: the same pod is refused where it is not there.
		ds := &appsv1.DaemonSet{}
		Expect(c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "selvage-agent"}, ds)).To(Succeed())
		Expect(c.Create(ctx, &corev1.Namespace{ObjectMeta: objectMeta("restricted", "pod-security.kubernetes.io/enforce", "baseline")})).To(Succeed())
		for in, refused := range map[string]bool{namespace: false, "restricted": true} {
			pod := &corev1.Pod{ObjectMeta: objectMeta("agent"), Spec: *ds.Spec.Template.Spec.DeepCopy()}
			pod.Namespace = in
			err := c.Create(ctx, pod, client.DryRunAll)
			Expect(apierrors.IsForbidden(err)).To(Equal(refused), "%s: %v", in, err)
		}
	})

	It("asks for no more than two capabilities, and never for a privileged container", func(ctx SpecContext) {
		var granted []corev1.Capability
		for _, containers := range c.podTemplates(ctx) {
			for _, one := range containers {
				s := one.SecurityContext
				Expect(s.Privileged).To(Or(BeNil(), HaveValue(BeFalse())), one.Name)
				Expect(s.AllowPrivilegeEscalation).To(HaveValue(BeFalse()), one.Name)
				Expect(s.ReadOnlyRootFilesystem).To(HaveValue(BeTrue()), one.Name)
				Expect(s.Capabilities.Drop).To(ConsistOf(corev1.Capability("ALL")), one.Name)
				granted = append(granted, s.Capabilities.Add...)
			}
		}
		Expect(granted).To(ConsistOf(corev1.Capability("NET_ADMIN"), corev1.Capability("SYS_ADMIN")))
	})
})

func (c *cluster) podTemplates(ctx context.Context) [][]corev1.Container {
	GinkgoHelper()
	agent, controller := &appsv1.DaemonSet{}, &appsv1.Deployment{}
	Expect(c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "selvage-agent"}, agent)).To(Succeed())
	Expect(c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "selvage-controller"}, controller)).To(Succeed())
	return [][]corev1.Container{agent.Spec.Template.Spec.Containers, controller.Spec.Template.Spec.Containers}
}
