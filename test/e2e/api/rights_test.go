// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// right is "verb resource[/subresource] [namespace]"; our own group goes
// without saying.
type right string

func (r right) attributes() *authorizationv1.ResourceAttributes {
	words := strings.Fields(string(r))
	resource, sub, _ := strings.Cut(words[1], "/")
	name, group, other := strings.Cut(resource, ".")
	if !other {
		group = "net.selvage.dev"
	}
	a := &authorizationv1.ResourceAttributes{Verb: words[0], Resource: name, Subresource: sub, Group: strings.TrimSuffix(group, "core")}
	if len(words) == 3 {
		a.Namespace = words[2]
	}
	return a
}

// What RBAC gives, before any policy narrows it.
var _ = Describe("the rights", func() {
	ask := func(ctx SpecContext, user string, r right) bool {
		GinkgoHelper()
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: r.attributes()}}
		Expect(who.admin.Create(ctx, review)).To(Succeed())
		return review.Status.Allowed
	}
	DescribeTable("of", func(ctx SpecContext, user string, may, mayNot []right) {
		for _, r := range may {
			Eventually(func() bool { return ask(ctx, user, r) }).WithTimeout(patience).Should(BeTrue(), "%s may %s", user, r)
		}
		for _, r := range mayNot {
			Expect(ask(ctx, user, r)).To(BeFalse(), "%s may not %s", user, r)
		}
	},
		Entry("the controller", "system:serviceaccount:selvage-system:selvage-controller",
			[]right{
				"create addressranges", "update addressranges", "delete addressranges", "own addressranges", "list addressranges", "watch addressranges",
				"list peers", "watch peers", "update peers", "delete peers", "update peers/status",
				"list peerremovals", "update peerremovals", "update peerremovals/status", "list addresspools", "update addresspools", "update addresspools/status",
				"list nodes.core", "watch nodes.core", "get nodes.core", "list pods.core", "watch pods.core",
				"list leases.coordination.k8s.io kube-node-lease", "watch leases.coordination.k8s.io kube-node-lease",
				"create leases.coordination.k8s.io selvage-system", "update leases.coordination.k8s.io selvage-system", "get leases.coordination.k8s.io selvage-system",
				"create events.core default", "patch events.core default", "create events.events.k8s.io default",
			},
			[]right{
				"patch addressranges", "update addressranges/status", "break-glass addressranges", "break-glass peers", "patch peers",
				"create peers", "create peerremovals", "delete peerremovals", "delete addresspools",
				"update leases.coordination.k8s.io kube-node-lease", "delete pods.core default", "update nodes.core", "get secrets.core selvage-system",
			}),
		Entry("an agent", "system:serviceaccount:selvage-system:selvage-agent-of-nobody", nil,
			[]right{"list peers", "create peers", "get nodes.core", "create leases.coordination.k8s.io selvage-system"}),
		Entry("whoever may edit", "pipeline",
			[]right{"create peerremovals", "patch peerremovals", "delete peerremovals", "create addresspools", "delete addresspools", "list peers", "watch addressranges"},
			[]right{"create addressranges", "update addressranges", "delete peers", "update peers/status", "break-glass peers", "own addressranges"}),
	)
	// Roles rather than the account: the scene gives the account more, so that
	// it is the policies that refuse.
	It("of an agent are in its roles", func(ctx SpecContext) {
		bind(ctx, who.admin, "agent-like", "selvage-agent", subject("agent-like"))
		for _, r := range []right{"list peers", "watch addressranges", "get addresspools", "watch peerremovals", "create peers", "patch peers/status", "patch addressranges/status", "get nodes.core", "watch nodes.core", "create events.core default"} {
			Eventually(func() bool { return ask(ctx, "agent-like", r) }).WithTimeout(patience).Should(BeTrue(), "may %s", r)
		}
		for _, r := range []right{"update peers", "delete peers", "patch peers", "update addressranges", "patch addressranges", "create peerremovals", "update peers/status", "list pods.core", "list events.core default", "patch events.core default", "get secrets.core selvage-system", "own addressranges"} {
			Expect(ask(ctx, "agent-like", r)).To(BeFalse(), "may not %s", r)
		}
	})
	It("of somebody who may only view", func(ctx SpecContext) {
		bind(ctx, who.admin, "viewer-views", "view", subject("viewer"))
		for _, r := range []right{"list peers", "get addressranges", "watch addresspools", "list peerremovals", "list leases.coordination.k8s.io selvage-system", "watch leases.coordination.k8s.io selvage-system"} {
			Eventually(func() bool { return ask(ctx, "viewer", r) }).WithTimeout(patience).Should(BeTrue(), "may %s", r)
		}
		for _, r := range []right{"create peerremovals", "update addresspools", "delete peers", "update leases.coordination.k8s.io selvage-system"} {
			Expect(ask(ctx, "viewer", r)).To(BeFalse(), "may not %s", r)
		}
	})
})
