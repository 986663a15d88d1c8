// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package install

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// definition is a kind's, and whether it is on its way out; nil: there is none.
func (c *cluster) definition(ctx context.Context, plural string) *bool {
	GinkgoHelper()
	d := &apiextensionsv1.CustomResourceDefinition{}
	err := c.Get(ctx, client.ObjectKey{Name: plural + ".net.selvage.dev"}, d)
	if apierrors.IsNotFound(err) {
		return nil
	}
	Expect(err).NotTo(HaveOccurred())
	going := d.DeletionTimestamp != nil
	return &going
}

// refusal is what is said to who would delete a kind; empty: nothing.
func (c *cluster) refusal(ctx context.Context, plural string) string {
	out, err := c.kubectl(ctx, "delete", "crd", plural+".net.selvage.dev", "--dry-run=server")
	if err == nil {
		return ""
	}
	return out
}

var plurals = []string{"addresspools", "addressranges", "peers", "peerremovals"}

// settle makes a network with a member, as its controller and its agent leave
// it behind: finalizers that only they take off, and neither of them here. It
// is made before there are policies about who writes what.
func (c *cluster) settle(ctx context.Context) []client.Object {
	GinkgoHelper()
	c.must(ctx, "apply", "-k", config+"crd")
	c.must(ctx, "wait", "--for=condition=Established", "crd", "--all", limit)
	meta := func(name, finalizer string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Finalizers: []string{finalizer}}
	}
	owned := &v1alpha1.AddressRange{ObjectMeta: metav1.ObjectMeta{Name: "10.32.0.0"}, Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: "10.32.0.0/24"}}
	all := []client.Object{
		&v1alpha1.AddressPool{ObjectMeta: meta("default", "net.selvage.dev/pool"), Spec: v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/12"}},
		&v1alpha1.Peer{ObjectMeta: meta("node1", "net.selvage.dev/ownership"), Spec: v1alpha1.PeerSpec{NodeName: "node1", InstanceID: "instance-1"}},
		&v1alpha1.PeerRemoval{ObjectMeta: meta("node2", "net.selvage.dev/removal")},
		owned,
	}
	for _, o := range all {
		Expect(c.Create(ctx, o)).To(Succeed())
	}
	owned.Spec.Owner, owned.Spec.Epoch = &v1alpha1.PeerReference{Name: "node1", UID: all[1].GetUID()}, 1
	Expect(c.Update(ctx, owned)).To(Succeed())
	return all
}

var _ = Describe("deleting the installation impatiently", Ordered, func() {
	var (
		c    *cluster
		held []client.Object
	)
	BeforeAll(func(ctx SpecContext) {
		c = boot(ctx)
		held = c.settle(ctx)
		c.must(ctx, "apply", "-k", config+"default")
		c.must(ctx, "apply", "-k", config+"crd-guard")
		Eventually(c.refusal).WithContext(ctx).WithArguments("peers").Should(ContainSubstring("selvage-peers-crd-stays"))
	}, NodeTimeout(bootLimit))

	// Twice: the second finds no policy of config/default any more.
	for _, when := range []string{"once", "twice"} {
		It("ends, says what to do, and keeps everything: "+when, func(ctx SpecContext) {
			out, err := c.kubectl(ctx, "delete", "--ignore-not-found", "-k", config+"default", limit)
			Expect(err).To(HaveOccurred(), "the kinds are to stay")
			Expect(out).NotTo(ContainSubstring("timed out"))
			for _, plural := range plurals {
				Expect(out).To(ContainSubstring("selvage-" + plural + "-crd-stays"))
				Expect(c.definition(ctx, plural)).To(HaveValue(BeFalse()), plural)
			}
			Expect(out).To(ContainSubstring("see docs/install.md, Uninstall"))
			for _, o := range held {
				now := o.DeepCopyObject().(client.Object)
				Expect(c.Get(ctx, client.ObjectKeyFromObject(o), now)).To(Succeed())
				Expect(now.GetResourceVersion()).To(Equal(o.GetResourceVersion()), "%T", o)
				Expect(now.GetDeletionTimestamp()).To(BeNil())
			}
		})
	}

	It("is undone by installing again", func(ctx SpecContext) {
		Eventually(func() error {
			return c.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{})
		}).Should(Satisfy(apierrors.IsNotFound))
		c.must(ctx, "apply", "-k", config+"default")
		c.expectUnchanged(ctx, config+"default")
	})
})

// With nobody in the network, the sequence of docs/install.md from where the
// agents have left; with nodes it is in test/e2e/nodes.
var _ = Describe("uninstalling", Ordered, func() {
	var c *cluster
	BeforeAll(func(ctx SpecContext) {
		c = boot(ctx)
		c.install(ctx)
	}, NodeTimeout(bootLimit))

	// The guard's view of a kind outlives the kind: it must see the next one.
	for _, when := range []string{"once", "after installing again"} {
		It("leaves nothing behind: "+when, func(ctx SpecContext) {
			c.install(ctx)
			Eventually(c.refusal).WithContext(ctx).WithArguments("addresspools").Should(ContainSubstring("AddressPool default still exists"))
			c.must(ctx, "delete", "-k", config+"pool", limit)
			c.must(ctx, "delete", "peerremovals", "--all", limit)
			Eventually(c.refusal).WithContext(ctx).WithArguments("addresspools").Should(BeEmpty())
			c.must(ctx, "delete", "-k", config+"default", limit)
			for _, plural := range plurals {
				Expect(c.definition(ctx, plural)).To(BeNil(), plural)
			}
		})
	}

	It("ends with the guard", func(ctx SpecContext) {
		c.must(ctx, "delete", "-k", config+"crd-guard", limit)
		for _, kind := range []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings", "crds", "clusterroles", "clusterrolebindings"} {
			Expect(c.must(ctx, "get", kind, "-o", "name")).NotTo(ContainSubstring("selvage"))
		}
	})
})
