// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

// node finds one of the cluster's.
func node(name string) *nodes.Node {
	GinkgoHelper()
	n, err := s.Node(name)
	Expect(err).NotTo(HaveOccurred())
	return n
}

// uid is a peer's incarnation.
func uid(ctx context.Context, name string) (id string) {
	GinkgoHelper()
	found, err := s.PeerUID(ctx, name)
	Expect(err).NotTo(HaveOccurred())
	return string(found)
}

// answers shows that each pod answers by its own name.
func answers(ctx context.Context, asker *corev1.Pod, pods ...*corev1.Pod) {
	GinkgoHelper()
	for _, p := range pods {
		Expect(s.Eventually(ctx, p.Name+" to answer", func(ctx context.Context) error {
			if err := s.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
				return err
			}
			if p.Status.PodIP == "" {
				return errors.New("it has no address")
			}
			who, _, err := s.Ask(ctx, asker, "tcp", stage.Address(p))
			if err == nil && who != string(p.UID) {
				err = fmt.Errorf("%s answers instead of %s", who, p.UID)
			}
			return err
		})).To(Succeed())
	}
}

// taint taints a node, or takes the taint away.
func taint(ctx context.Context, name string, taints ...corev1.Taint) {
	GinkgoHelper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Expect(s.Eventually(ctx, "the taint", func(ctx context.Context) error {
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(n), n); err != nil {
			return err
		}
		n.Spec.Taints = taints
		return s.Client.Update(ctx, n)
	})).To(Succeed())
}

var _ = Describe("a node's life", Ordered, func() {
	var asker *corev1.Pod
	BeforeAll(func(ctx context.Context) {
		asker = stage.Pod("observer", "node1")
		Expect(s.Start(ctx, asker)).To(Succeed())
	}, forRemoval)
	AfterAll(func(ctx context.Context) {
		Expect(s.Delete(ctx, asker)).To(Succeed())
	}, forRemoval)

	It("is rebooted: the same peer, the same ranges, no allocation left", func(ctx context.Context) {
		before, pods := uid(ctx, "node3"), crowd("reboot", "node3", 5)
		Expect(s.Start(ctx, pods...)).To(Succeed())
		held, err := s.Owned(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		Expect(node("node3").Reboot(ctx)).To(Succeed())
		Expect(s.WaitReady(ctx, "node3")).To(Succeed())
		answers(ctx, asker, pods...)
		Expect(uid(ctx, "node3")).To(Equal(before))
		Expect(s.Owned(ctx, "node3")).To(ConsistOf(held))
		Expect(s.Delete(ctx, pods...)).To(Succeed())
	}, forRemoval)

	It("is re-imaged under its old name: another peer", func(ctx context.Context) {
		before, err := s.PeerUID(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		pods := crowd("reimage", "node3", 5)
		Expect(s.Start(ctx, pods...)).To(Succeed())
		Expect(node("node3").Reimage(ctx)).To(Succeed())
		Expect(s.AwaitPeer(ctx, "node3", before)).To(Succeed())
		Expect(s.WaitReady(ctx, "node3")).To(Succeed())
		answers(ctx, asker, pods...)
		Expect(s.Delete(ctx, pods...)).To(Succeed())
	}, forRemoval)

	It("is added, drained, and deleted", func(ctx context.Context) {
		n, err := s.AddNode(ctx, "node4")
		Expect(err).NotTo(HaveOccurred())
		Expect(s.WaitReady(ctx, "node4")).To(Succeed())
		pod := stage.Pod("added", "node4")
		Expect(s.Start(ctx, pod)).To(Succeed())
		answers(ctx, asker, pod)
		old, err := s.PeerUID(ctx, "node4")
		Expect(err).NotTo(HaveOccurred())
		_, err = s.Kubectl(ctx, "drain", "node4", "--ignore-daemonsets", "--force")
		Expect(err).NotTo(HaveOccurred())
		Expect(n.Stop(ctx)).To(Succeed())
		_, err = s.Kubectl(ctx, "delete", "node", "node4")
		Expect(err).NotTo(HaveOccurred())
		// Switched off and never seen again.
		Expect(s.AwaitGone(ctx, "node4", old)).To(Succeed())
		Expect(s.Owned(ctx, "node4")).To(BeEmpty())
		Expect(s.Eventually(ctx, "nothing of node4 to be left", func(ctx context.Context) error {
			out, err := s.Kubectl(ctx, "--namespace", stage.Namespace, "get", "lease", "peer-node4", "--ignore-not-found", "--output=name")
			if err == nil && out != "" {
				err = fmt.Errorf("there is still %s", out)
			}
			return err
		})).To(Succeed())
	}, forRemoval)

	It("is renamed: another peer, and the old one is removed with its Node", func(ctx context.Context) {
		fresh, err := s.AddNode(ctx, "node5")
		Expect(err).NotTo(HaveOccurred())
		Expect(s.WaitReady(ctx, "node5")).To(Succeed())
		first, err := s.PeerUID(ctx, "node5")
		Expect(err).NotTo(HaveOccurred())

		By("node5 gets another name: what it had is on the disk of node6")
		renamed, err := s.AddNode(ctx, "node6")
		Expect(err).NotTo(HaveOccurred())
		Expect(fresh.Stop(ctx)).To(Succeed())
		Expect(renamed.Stop(ctx)).To(Succeed())
		const kept = "disk/lib/selvage" // /var/lib/selvage
		Expect(os.RemoveAll(filepath.Join(renamed.Dir(), kept))).To(Succeed())
		Expect(os.CopyFS(filepath.Join(renamed.Dir(), kept), os.DirFS(filepath.Join(fresh.Dir(), kept)))).To(Succeed())
		Expect(renamed.Start(ctx)).To(Succeed())
		Expect(s.AwaitPeer(ctx, "node6", first)).To(Succeed())
		Expect(s.WaitReady(ctx, "node6")).To(Succeed())
		pod := stage.Pod("renamed", "node6")
		Expect(s.Start(ctx, pod)).To(Succeed())
		answers(ctx, asker, pod)
		Expect(s.Delete(ctx, pod)).To(Succeed())

		for _, n := range []*nodes.Node{fresh, renamed} {
			old, err := s.PeerUID(ctx, n.Name)
			Expect(err).NotTo(HaveOccurred())
			Expect(n.Stop(ctx)).To(Succeed())
			_, err = s.Kubectl(ctx, "delete", "node", n.Name)
			Expect(err).NotTo(HaveOccurred())
			Expect(s.AwaitGone(ctx, n.Name, old)).To(Succeed())
		}
	}, forRemoval)

	It("is switched off for good and has the out-of-service taint", func(ctx context.Context) {
		pods := crowd("taint", "node3", 5)
		Expect(s.Start(ctx, pods...)).To(Succeed())
		old, err := s.PeerUID(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		Expect(node("node3").Stop(ctx)).To(Succeed())
		Expect(s.WaitNotReady(ctx, "node3")).To(Succeed())
		taint(ctx, "node3", corev1.Taint{Key: "node.kubernetes.io/out-of-service", Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
		Expect(s.Declare(ctx, "node3", "node2")).To(Succeed())
		r, err := s.AwaitRemoved(ctx, "node3")
		Expect(err).NotTo(HaveOccurred())
		Expect(r.Status.Evidence).To(BeElementOf(v1alpha1.EvidenceNodeOutOfService, v1alpha1.EvidenceLeaseExpired))

		taint(ctx, "node3")
		Expect(node("node3").Start(ctx)).To(Succeed())
		Expect(s.Client.Delete(ctx, &r)).To(Succeed())
		Expect(s.AwaitPeer(ctx, "node3", old)).To(Succeed())
		Expect(s.WaitReady(ctx, "node3")).To(Succeed())
		Expect(s.Delete(ctx, pods...)).To(Succeed())
	}, forRemoval)

	It("is partitioned while its pods run, removed, and healed", func(ctx context.Context) {
		victim, heir, other := roles(ctx)
		pods := crowd("partition", victim, 10)
		Expect(s.Start(ctx, pods...)).To(Succeed())
		old, err := s.PeerUID(ctx, victim)
		Expect(err).NotTo(HaveOccurred())
		held, err := s.Owned(ctx, victim)
		Expect(err).NotTo(HaveOccurred())
		s.Witness.Silent(victim)
		Expect(node(victim).Cut()).To(Succeed())
		Expect(s.Declare(ctx, victim, heir)).To(Succeed())
		r, err := s.AwaitRemoved(ctx, victim)
		Expect(err).NotTo(HaveOccurred())
		Expect(r.Status.Evidence).To(Equal(v1alpha1.EvidenceLeaseExpired))

		By("its pods are taken for dead, and others get their addresses while they still run there")
		for _, p := range pods {
			Expect(s.Client.Delete(ctx, p, client.GracePeriodSeconds(0))).To(Succeed())
		}
		inherited := inheriting(ctx, held, heir)
		far := stage.Pod("far", other)
		Expect(s.Start(ctx, far)).To(Succeed())
		answers(ctx, far, inherited...)

		By("the partition heals while the removal stands: the heir's pods are heard, and nobody else")
		Expect(node(victim).Join()).To(Succeed())
		Expect(s.WaitReady(ctx, heir, other)).To(Succeed())
		for began := time.Now(); time.Since(began) < 10*time.Second; {
			answers(ctx, far, inherited...)
		}

		By("the removal is deleted: the node joins anew")
		Expect(s.Client.Delete(ctx, &r)).To(Succeed())
		Expect(s.AwaitPeer(ctx, victim, old)).To(Succeed())
		Expect(s.WaitReady(ctx, victim)).To(Succeed())
		fresh := stage.Pod("healed", victim)
		Expect(s.Start(ctx, fresh)).To(Succeed())
		answers(ctx, far, append(inherited, fresh)...)
		s.Witness.Audible(victim)
		Expect(s.Delete(ctx, append(inherited, far, fresh)...)).To(Succeed())
	}, forRemoval)
})
