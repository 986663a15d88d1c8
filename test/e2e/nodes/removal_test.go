// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

const forRemoval = NodeTimeout(8 * time.Minute)

// crowd is a number of pods on a node.
func crowd(prefix, node string, size int) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range size {
		pods = append(pods, stage.Pod(fmt.Sprintf("%s-%d", prefix, i), node))
	}
	return pods
}

// inheriting starts pods on a node until some have addresses of these ranges,
// and returns those. A node uses its ranges one after the other, so it may take
// as many pods as it owns addresses.
func inheriting(ctx context.Context, ranges []netip.Prefix, on string) (inherited []*corev1.Pod) {
	GinkgoHelper()
	owned, err := s.Owned(ctx, on)
	Expect(err).NotTo(HaveOccurred())
	addresses := 0
	for _, r := range owned {
		addresses += 1 << (32 - r.Bits())
	}
	for started := 0; started < 2*addresses && len(inherited) == 0; {
		var others []*corev1.Pod
		pods := crowd(fmt.Sprintf("heir-%d", started), on, 45)
		Expect(s.Start(ctx, pods...)).To(Succeed())
		for _, p := range pods {
			if stage.Within(ranges, p.Status.PodIP) {
				inherited = append(inherited, p)
			} else {
				others = append(others, p)
			}
		}
		Expect(s.Delete(ctx, others...)).To(Succeed())
		started += len(pods)
	}
	Expect(inherited).NotTo(BeEmpty(), "no pod on %s, which owns %v, got an address of %v", on, owned, ranges)
	return inherited
}

// usable shows that what a node held can be used on another.
func usable(ctx context.Context, asker *corev1.Pod, ranges []netip.Prefix, on string) {
	GinkgoHelper()
	heirs := inheriting(ctx, ranges, on)
	answers(ctx, asker, heirs...)
	Expect(s.Delete(ctx, heirs...)).To(Succeed())
}

// answersAnew waits until pods answer by their own names, and shows that they
// have other addresses than before.
func answersAnew(ctx context.Context, asker *corev1.Pod, pods []*corev1.Pod) {
	GinkgoHelper()
	for _, p := range pods {
		before := p.Status.PodIP
		Expect(s.Eventually(ctx, p.Name+" to answer", func(ctx context.Context) error {
			if err := s.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			if p.Status.PodIP == before {
				return fmt.Errorf("%s is said to have %s still", p.Name, before)
			}
			who, _, err := s.Ask(ctx, asker, "tcp", stage.Address(p))
			if err == nil && who != string(p.UID) {
				err = fmt.Errorf("%s answers on the address of %s", who, p.UID)
			}
			return err
		})).To(Succeed())
	}
}

var _ = Describe("a node that dies with 30 pods", Ordered, func() {
	var (
		asker *corev1.Pod
		pods  []*corev1.Pod
		held  []netip.Prefix
	)
	BeforeEach(func(ctx context.Context) {
		asker = stage.Pod("asker", "node2")
		pods = crowd("victim", "node3", 30)
		Expect(s.Start(ctx, append(pods, asker)...)).To(Succeed())
		var err error
		held, err = s.Owned(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		Expect(held).NotTo(BeEmpty())
	}, forRemoval)
	AfterEach(func(ctx context.Context) {
		Expect(s.Delete(ctx, append(pods, asker)...)).To(Succeed())
	}, forRemoval)

	It("is removed by an applied PeerRemoval, and comes back", func(ctx context.Context) {
		n, err := s.Node("node3")
		Expect(err).NotTo(HaveOccurred())
		old, err := s.PeerUID(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		Expect(n.Stop(ctx)).To(Succeed())
		Expect(s.Declare(ctx, "node3", "node1")).To(Succeed())
		r, err := s.AwaitRemoved(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		Expect(r.Status.Evidence).To(Equal(v1alpha1.EvidenceLeaseExpired))
		owned, err := s.Owned(ctx, "node1")
		Expect(err).NotTo(HaveOccurred())
		for _, h := range held {
			Expect(owned).To(ContainElement(h), "the heir has all that node3 had")
		}

		By("the dead pods' addresses stay reserved while their Pods carry them")
		heirs := crowd("early", "node1", 40)
		Expect(s.Start(ctx, heirs...)).To(Succeed())
		for _, p := range pods {
			for _, h := range heirs {
				Expect(h.Status.PodIP).NotTo(Equal(p.Status.PodIP))
			}
		}
		Expect(s.Delete(ctx, heirs...)).To(Succeed())

		By("the node comes back while its removal stands: nobody hears it")
		Expect(n.Start(ctx)).To(Succeed())
		Expect(s.WaitBooted(ctx, "node3")).To(Succeed())
		for _, p := range pods[:5] {
			_, _, err := s.Ask(ctx, asker, "--timeout=300ms", "tcp", stage.Address(p))
			Expect(err).To(HaveOccurred(), "%s was removed and answers on %s", p.Name, p.Status.PodIP)
		}

		By("its removal is deleted: it joins anew, and its pods get new addresses")
		Expect(s.Client.Delete(ctx, &r)).To(Succeed())
		Expect(s.AwaitPeer(ctx, "node3", old)).To(Succeed())
		Expect(s.WaitReady(ctx, "node3")).To(Succeed())
		answersAnew(ctx, asker, pods)
		Expect(s.Delete(ctx, pods...)).To(Succeed())
		usable(ctx, asker, held, "node1")
	}, forRemoval)

	It("is removed with its Node, and comes back", func(ctx context.Context) {
		n, err := s.Node("node3")
		Expect(err).NotTo(HaveOccurred())
		old, err := s.PeerUID(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		Expect(n.Stop(ctx)).To(Succeed())
		Expect(s.WaitNotReady(ctx, "node3")).To(Succeed())
		Expect(s.Client.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node3"}})).To(Succeed())
		Expect(s.AwaitGone(ctx, "node3", old)).To(Succeed())
		Expect(s.Owned(ctx, "node3")).To(BeEmpty())

		By("the node comes back as a stranger")
		Expect(n.Start(ctx)).To(Succeed())
		Expect(s.AwaitPeer(ctx, "node3", old)).To(Succeed())
		Expect(s.WaitReady(ctx, "node3")).To(Succeed())
		fresh := stage.Pod("fresh", "node3")
		Expect(s.Start(ctx, fresh)).To(Succeed())
		who, _, err := s.Ask(ctx, asker, "tcp", stage.Address(fresh))
		Expect(err).NotTo(HaveOccurred())
		Expect(who).To(Equal(string(fresh.UID)))
		Expect(s.Delete(ctx, fresh)).To(Succeed())
	}, forRemoval)
})
