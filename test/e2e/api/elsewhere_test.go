// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

const overlay = "testdata/other-namespace"

// A control plane of its own: the roles can be bound in one namespace only.
var _ = Describe("the installation in another namespace", Ordered, func() {
	var (
		other *controlplane.ControlPlane
		w     callers
	)
	BeforeAll(func(ctx SpecContext) {
		other = start(ctx)
		Expect(other.Install(ctx, overlay, configDir+"/crd-guard")).To(Succeed())
		w = introduce(ctx, other, "other")
	})

	It("lies there and nowhere else", func(ctx SpecContext) {
		Expect(w.admin.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{})).To(Satisfy(apierrors.IsNotFound))
		for _, name := range []string{"selvage-agent", "selvage-controller"} {
			Expect(w.admin.Get(ctx, client.ObjectKey{Namespace: "other", Name: name}, &corev1.ServiceAccount{})).To(Succeed())
		}
	})

	It("lets its own agent and controller write", func(ctx SpecContext) {
		Expect(creates(kindPeer, "host1", `{metadata: {finalizers: [net.selvage.dev/ownership]}, spec: {nodeName: host1, instanceID: instance-1}}`)(ctx, w.host1)).To(Succeed())
		Expect(w.host1.Create(ctx, lease("other", "peer-host1"))).To(Succeed())
		Expect(creates(kindRange, "10.32.0.0", `spec: {pool: default, cidr: 10.32.0.0/16, epoch: 0}`)(ctx, w.controller)).To(Succeed())
		Expect(patchesAsPut(kindRange, "10.32.0.0", `spec: {owner: {name: host1, uid: uid-1}, epoch: 1}`)(ctx, w.controller)).To(Succeed())
		Expect(patch(ctx, w.host1, kindRange, "10.32.0.0", `status: {observedEpoch: 1}`)).To(Succeed())
		Expect(patch(ctx, w.host1, kindPeer, "host1", `status: {agent: {version: v1}}`)).To(Succeed())
	})

	DescribeTable("refuses", func(ctx SpecContext, whose func() caller, policy string, do request) {
		Expect(do(ctx, whose())).To(MatchError(ContainSubstring("ValidatingAdmissionPolicy '" + policy + "'")))
	},
		Entry("an administrator", func() caller { return w.admin }, "addressrange-single-writer", patches(kindRange, "10.32.0.0", `spec: {keep: ""}`)),
		Entry("an administrator's deleting a Peer", func() caller { return w.admin }, "peer-single-writer", deletes(kindPeer, "host1")),
		Entry("the controller's deleting what is owned", func() caller { return w.controller }, "addressrange-in-use-stays", deletes(kindRange, "10.32.0.0")),
		Entry("another node's agent", func() caller { return w.host2 }, "agent-writes-its-own", patches(kindPeer, "host1", `status: {agent: {version: v2}}`)),
		Entry("another node's agent on a range", func() caller { return w.host2 }, "agent-writes-its-own", patches(kindRange, "10.32.0.0", `status: {used: 1}`)),
		Entry("an unbound token", func() caller { return w.unbound }, "agent-writes-its-own", patches(kindPeer, "host1", `status: {agent: {version: v2}}`)),
		Entry("an agent's Lease where Selvage would lie by default", func() caller { return w.host1 }, "agent-writes-its-own",
			func(ctx context.Context, c client.Client) error { return c.Create(ctx, lease("default", "peer-host1")) }),
		Entry("the controller's namesake", func() caller { return w.impostor }, "peer-single-writer", deletes(kindPeer, "host1")),
	)

	It("keeps the kinds that have objects when it is deleted, even twice", func(ctx SpecContext) {
		for range 2 {
			out, err := kubectl(ctx, other, "delete", "--ignore-not-found", "--wait=false", "-k", overlay)
			Expect(err).To(HaveOccurred(), "the definitions are to stay")
			Expect(out).To(ContainSubstring("selvage-peers-crd-stays"))
			Expect(out).To(ContainSubstring("selvage-addressranges-crd-stays"))
		}
		list := &apiextensionsv1.CustomResourceDefinitionList{}
		Expect(w.admin.List(ctx, list)).To(Succeed())
		staying := map[string]bool{}
		for _, d := range list.Items {
			staying[d.Name] = d.DeletionTimestamp == nil
		}
		Expect(staying).To(And(HaveKeyWithValue("peers.net.selvage.dev", true), HaveKeyWithValue("addressranges.net.selvage.dev", true)))
		Expect(get(ctx, w.admin, kindRange, "10.32.0.0").GetDeletionTimestamp()).To(BeNil())
	})
})
