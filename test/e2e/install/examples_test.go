// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package install

import (
	"context"
	"os"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// effects are what each example, and each choice of a pool, is for.
var effects = map[string]func(ctx context.Context, c *cluster){
	"pool-ipv6":         pools("fd00:10:32::/64"),
	"pool-dual":         pools("10.32.0.0/12", "fd00:10:32::/64"),
	"examples/own-pool": pools("10.128.0.0/14"),
	"examples/other-namespace": func(ctx context.Context, c *cluster) {
		for _, o := range c.objects(ctx, config+"examples/other-namespace") {
			Expect(o.GetNamespace()).To(Or(BeEmpty(), Equal("network")), o.GetName())
		}
		Expect(c.Get(ctx, client.ObjectKey{Namespace: "network", Name: "selvage-agent"}, &appsv1.DaemonSet{})).To(Succeed())
	},
	"examples/own-registry": func(ctx context.Context, c *cluster) {
		for _, containers := range c.podTemplates(ctx) {
			Expect(containers[0].Image).To(Equal("registry.example.com/net/selvage-" + containers[0].Name + ":v1"))
		}
	},
	"examples/one-node": func(ctx context.Context, c *cluster) {
		deployment := &appsv1.Deployment{}
		Expect(c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "selvage-controller"}, deployment)).To(Succeed())
		Expect(deployment.Spec.Replicas).To(HaveValue(BeEquivalentTo(1)))
	},
	"examples/no-kube-proxy": func(ctx context.Context, c *cluster) {
		for _, containers := range c.podTemplates(ctx) {
			Expect(containers[0].Env).To(ContainElements(
				corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: "api.example.com"},
				corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: "6443"},
				HaveField("Name", "POD_NAMESPACE")))
		}
	},
}

func pools(want ...string) func(context.Context, *cluster) {
	return func(ctx context.Context, c *cluster) {
		GinkgoHelper()
		list := &v1alpha1.AddressPoolList{}
		Expect(c.List(ctx, list)).To(Succeed())
		var cidrs []string
		for _, p := range list.Items {
			cidrs = append(cidrs, p.Spec.CIDR)
		}
		Expect(cidrs).To(ConsistOf(want))
		// For the next choice: here is no controller that holds a pool.
		Expect(c.DeleteAllOf(ctx, &v1alpha1.AddressPool{})).To(Succeed())
	}
}

var _ = Describe("an example", Ordered, func() {
	var c *cluster
	BeforeAll(func(ctx SpecContext) {
		c = boot(ctx)
		c.install(ctx)
		c.must(ctx, "delete", "-k", config+"pool", limit)
	}, NodeTimeout(bootLimit))

	for dir, effect := range effects {
		It(dir+" has its effect, and twice is once", func(ctx SpecContext) {
			c.must(ctx, "apply", "-k", config+dir)
			c.expectUnchanged(ctx, config+dir)
			effect(ctx, c)
		})
	}

	It("is never without a test", func() {
		entries, err := os.ReadDir(config + "examples")
		Expect(err).NotTo(HaveOccurred())
		for _, e := range entries {
			Expect(effects).To(HaveKey("examples/" + e.Name()))
		}
	})
})
