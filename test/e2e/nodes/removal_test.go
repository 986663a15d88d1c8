// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
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

// roles chooses who goes and who inherits. A node allocates from its ranges in
// their order, so that the heir of the one with the lowest uses at once what it
// inherits.
func roles(ctx context.Context) (victim, heir, other string) {
	GinkgoHelper()
	names := []string{"node1", "node2", "node3"}
	first := map[string]netip.Prefix{}
	for _, name := range names {
		owned, err := s.Owned(ctx, name)
		Expect(err).NotTo(HaveOccurred())
		Expect(owned).NotTo(BeEmpty(), name)
		first[name] = slices.MinFunc(owned, netip.Prefix.Compare)
	}
	slices.SortFunc(names, func(a, b string) int { return first[a].Compare(first[b]) })
	return names[0], names[2], names[1]
}

// inheriting starts pods on a node, which roles has chosen, and returns those
// that have addresses of these ranges.
func inheriting(ctx context.Context, ranges []netip.Prefix, on string) (inherited []*corev1.Pod) {
	GinkgoHelper()
	var others []*corev1.Pod
	pods := crowd("heir", on, 15)
	Expect(s.Start(ctx, pods...)).To(Succeed())
	for _, p := range pods {
		if stage.Within(ranges, p.Status.PodIP) {
			inherited = append(inherited, p)
		} else {
			others = append(others, p)
		}
	}
	Expect(s.Delete(ctx, others...)).To(Succeed())
	Expect(inherited).NotTo(BeEmpty(), "no pod on %s got an address of %v", on, ranges)
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
		victim, heir string
		asker        *corev1.Pod
		pods         []*corev1.Pod
		held         []netip.Prefix
	)
	BeforeEach(func(ctx context.Context) {
		var other string
		victim, heir, other = roles(ctx)
		asker = stage.Pod("asker", other)
		pods = crowd("victim", victim, 30)
		Expect(s.Start(ctx, append(pods, asker)...)).To(Succeed())
		var err error
		held, err = s.Owned(ctx, victim)
		Expect(err).NotTo(HaveOccurred())
		Expect(held).NotTo(BeEmpty())
	}, forRemoval)
	AfterEach(func(ctx context.Context) {
		Expect(s.Delete(ctx, append(pods, asker)...)).To(Succeed())
	}, forRemoval)

	It("is removed by an applied PeerRemoval, and comes back", func(ctx context.Context) {
		n, err := s.Node(victim)
		Expect(err).NotTo(HaveOccurred())
		old, err := s.PeerUID(ctx, victim)
		Expect(err).NotTo(HaveOccurred())
		Expect(n.Stop(ctx)).To(Succeed())
		Expect(s.Declare(ctx, victim, heir)).To(Succeed())
		r, err := s.AwaitRemoved(ctx, victim)
		Expect(err).NotTo(HaveOccurred())
		Expect(r.Status.Evidence).To(Equal(v1alpha1.EvidenceLeaseExpired))
		owned, err := s.Owned(ctx, heir)
		Expect(err).NotTo(HaveOccurred())
		for _, h := range held {
			Expect(owned).To(ContainElement(h), "%s has all that %s had", heir, victim)
		}

		By("the dead pods' addresses stay reserved while their Pods carry them")
		heirs := crowd("early", heir, 40)
		Expect(s.Start(ctx, heirs...)).To(Succeed())
		for _, p := range pods {
			for _, h := range heirs {
				Expect(h.Status.PodIP).NotTo(Equal(p.Status.PodIP))
			}
		}
		Expect(s.Delete(ctx, heirs...)).To(Succeed())

		By("the others are usable on the heir")
		usable(ctx, asker, held, heir)

		By("the node comes back while its removal stands: nobody hears it")
		Expect(n.Start(ctx)).To(Succeed())
		Expect(s.WaitBooted(ctx, victim)).To(Succeed())
		for _, p := range pods[:5] {
			_, _, err := s.Ask(ctx, asker, "--timeout=300ms", "tcp", stage.Address(p))
			Expect(err).To(HaveOccurred(), "%s was removed and answers on %s", p.Name, p.Status.PodIP)
		}

		By("its removal is deleted: it joins anew, and its pods get new addresses")
		Expect(s.Client.Delete(ctx, &r)).To(Succeed())
		Expect(s.AwaitPeer(ctx, victim, old)).To(Succeed())
		Expect(s.WaitReady(ctx, victim)).To(Succeed())
		answersAnew(ctx, asker, pods)
	}, forRemoval)

	It("is removed with its Node, and comes back", func(ctx context.Context) {
		n, err := s.Node(victim)
		Expect(err).NotTo(HaveOccurred())
		old, err := s.PeerUID(ctx, victim)
		Expect(err).NotTo(HaveOccurred())
		Expect(n.Stop(ctx)).To(Succeed())
		Expect(s.WaitNotReady(ctx, victim)).To(Succeed())
		Expect(s.Client.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: victim}})).To(Succeed())
		Expect(s.AwaitGone(ctx, victim, old)).To(Succeed())
		Expect(s.Owned(ctx, victim)).To(BeEmpty())

		By("the node comes back as a stranger")
		Expect(n.Start(ctx)).To(Succeed())
		Expect(s.AwaitPeer(ctx, victim, old)).To(Succeed())
		Expect(s.WaitReady(ctx, victim)).To(Succeed())
		fresh := stage.Pod("fresh", victim)
		Expect(s.Start(ctx, fresh)).To(Succeed())
		who, _, err := s.Ask(ctx, asker, "tcp", stage.Address(fresh))
		Expect(err).NotTo(HaveOccurred())
		Expect(who).To(Equal(string(fresh.UID)))
		Expect(s.Delete(ctx, fresh)).To(Succeed())
	}, forRemoval)
})
