// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

var _ = Describe("a node that lives, and is vouched to be down", Ordered, func() {
	It("has its stale pods stopped by the container runtime, and made anew", func(ctx context.Context) {
		asker := stage.Pod("asker", "node2")
		pods := crowd("stale", "node3", 5)
		once := stage.Pod("once", "node3")
		once.Spec.RestartPolicy = corev1.RestartPolicyNever
		Expect(s.Start(ctx, append(pods, once, asker)...)).To(Succeed())
		old, err := s.PeerUID(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		s.Witness.Silent("node3") // it is said to be off, and is not
		Expect(s.Client.Create(ctx, &v1alpha1.PeerRemoval{
			ObjectMeta: metav1.ObjectMeta{Name: "node3"}, Spec: v1alpha1.PeerRemovalSpec{Heir: "node1", AssertDown: true},
		})).To(Succeed())
		r, err := s.AwaitRemoved(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())

		By("the agent says on the Node whom it has had stopped")
		Expect(s.Eventually(ctx, "the Events to name all pods", func(ctx context.Context) error {
			said, err := s.Kubectl(ctx, "events", "--for", "node/node3")
			if err != nil {
				return err
			}
			for _, p := range append(pods, once) {
				if !strings.Contains(said, "StalePodsStopped") || !strings.Contains(said, p.Name) && !strings.Contains(said, " more") {
					return fmt.Errorf("no word of %s:\n%s", p.Name, said)
				}
			}
			return nil
		})).To(Succeed())

		By("a pod that never restarts ends as Failed")
		Expect(s.Eventually(ctx, once.Name+" to fail", func(ctx context.Context) error {
			if err := s.Client.Get(ctx, client.ObjectKeyFromObject(once), once); err != nil {
				return err
			}
			if once.Status.Phase != corev1.PodFailed {
				return fmt.Errorf("it is %s", once.Status.Phase)
			}
			return nil
		})).To(Succeed())

		By("the removal is deleted: it joins anew, and its pods get new addresses")
		Expect(s.Client.Delete(ctx, &r)).To(Succeed())
		Expect(s.AwaitPeer(ctx, "node3", old)).To(Succeed())
		Expect(s.WaitReady(ctx, "node3")).To(Succeed())
		answersAnew(ctx, asker, pods)
		Expect(s.Delete(ctx, append(pods, once, asker)...)).To(Succeed())
	}, forRemoval)
})
