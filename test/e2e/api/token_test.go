// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// What an agent's token can do while its pod lives is in policies_agent_test.go.
var _ = Describe("a stolen agent token", func() {
	It("is worth nothing once its Pod is gone", func(ctx SpecContext) {
		thief := agent(ctx, plane, namespace, "burgled")
		DeferCleanup(func(ctx SpecContext) {
			Expect(who.admin.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "burgled"}})).To(Succeed())
		})
		look := func(ctx context.Context) error { return thief.List(ctx, &v1alpha1.PeerList{}) }
		Expect(look(ctx)).To(Succeed())
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "selvage-agent-burgled"}}
		Expect(who.admin.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		// The API server remembers for some seconds whom it has authenticated.
		Eventually(ctx, look).WithTimeout(patience).Should(MatchError(apierrors.IsUnauthorized, "401"))
		Expect(thief.Create(ctx, lease(namespace, "peer-burgled"))).To(MatchError(apierrors.IsUnauthorized, "401"))
	})
})
