// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"bytes"
	"context"
	"os/exec"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// background runs the program and lets the test go on.
func background(ctx context.Context, args ...string) *gexec.Session {
	GinkgoHelper()
	cmd, _, _ := command(ctx, cluster.Plane.Kubeconfig, args...)
	cmd.Stdout, cmd.Stderr = nil, nil
	session, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	return session
}

func removalOf(ctx context.Context, name string) *v1alpha1.PeerRemoval {
	GinkgoHelper()
	r := &v1alpha1.PeerRemoval{}
	Expect(cluster.Admin.Get(ctx, client.ObjectKey{Name: name}, r)).To(Succeed())
	return r
}

func noRemovalOf(ctx context.Context, name string) {
	GinkgoHelper()
	Expect(apierrors.IsNotFound(cluster.Admin.Get(ctx, client.ObjectKey{Name: name}, &v1alpha1.PeerRemoval{}))).To(BeTrue())
}

var _ = Describe("removing a peer", func() {
	BeforeEach(setStage)

	It("goes as the story tells it", func(ctx SpecContext) {
		session := background(ctx, "rmpeer", "host3", "--heir", "host1", "--wait")
		cluster.Accept(ctx, "host3", "waiting for host3's lease to run out (48s left), or proof that it is down")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("fencing host3 … waiting for host3's lease to run out \\(48s left\\)"))
		Expect(removalOf(ctx, "host3").Spec.InstanceID).To(Equal("instance-of-host3"))
		cluster.Transfer(ctx, "host3", "host1")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("fencing host3 … lease sealed; cut off by 0 of 2 peers; waiting for host1, host2\n"))
		cluster.CutOff(ctx, "host1", "host3")
		cluster.CutOff(ctx, "host2", "host3")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("fencing host3 … lease sealed; cut off by 2 of 2 peers\n"))
		cluster.Finish(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("524288 IPs taken over from host3\n"))
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(0))

		run(ctx, "rmpeer", "host3", "--heir", "host2").fail(1, "error: host3 has been removed already: host1 took over 524288 IPs at ")
		Expect(run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()).To(And(
			ContainSubstring("peerremoval.net.selvage.dev/host3 unchanged"),
			ContainSubstring("host3 has been removed already: host1 took over 524288 IPs at ")))
		Expect(run(ctx, "rmpeer", "host3", "--heir", "host1", "--wait").succeed()).To(ContainSubstring("host1 took over 524288 IPs"))
	})

	It("names the first heir while the removal is under way", func(ctx SpecContext) {
		Expect(run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()).To(Equal("peerremoval.net.selvage.dev/host3 created\n"))
		run(ctx, "rmpeer", "host3", "--heir", "host2").fail(1, "host3 is being removed already (Pending), and host1 is its heir", "kubectl selvage cancel host3")
		cluster.Accept(ctx, "host3", "waiting")
		run(ctx, "rmpeer", "host3").fail(1, "host3 is being removed already (Fencing), and host1 is its heir")
		cluster.Transfer(ctx, "host3", "host1")
		run(ctx, "rmpeer", "host3", "--heir", "host2").fail(1, "can no longer be cancelled")
	})

	It("gives one heir to two people at once", func(ctx SpecContext) {
		one, two := background(ctx, "rmpeer", "host3", "--heir", "host1"), background(ctx, "rmpeer", "host3", "--heir", "host2")
		Eventually(one).WithTimeout(patience).Should(gexec.Exit())
		Eventually(two).WithTimeout(patience).Should(gexec.Exit())
		Expect([]int{one.ExitCode(), two.ExitCode()}).To(ConsistOf(0, 1))
		loser, heir := two, "host1"
		if one.ExitCode() == 1 {
			loser, heir = one, "host2"
		}
		Expect(loser.Err).To(gbytes.Say("host3 is being removed already .*" + heir + " is its heir"))
		Expect(removalOf(ctx, "host3").Spec.Heir).To(Equal(heir))
	})

	It("takes any name of the peer and of the heir, and refuses what is ambiguous", func(ctx SpecContext) {
		run(ctx, "rmpeer", "10.44.0.9", "--heir", "host1.rack7").succeed()
		Expect(removalOf(ctx, "host3").Spec.Heir).To(Equal("host1"))

		p := cluster.Peer(ctx, "host2")
		before := p.DeepCopy()
		p.Status.Agent.HostName = "host1.rack7"
		Expect(cluster.Agents["host2"].Status().Patch(ctx, p, client.MergeFrom(before))).To(Succeed())
		run(ctx, "rmpeer", "host1.rack7").fail(1, "may mean any of 2 peers", "peer/host1 (host name)", "peer/host2 (host name)")
		noRemovalOf(ctx, "host1")
	})

	It("adds assertDown to a removal that stands", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3").succeed()
		uid := removalOf(ctx, "host3").UID
		Expect(run(ctx, "rmpeer", "host3", "--assert-down").succeed()).To(ContainSubstring("host3 configured"))
		Expect(removalOf(ctx, "host3").Spec.AssertDown).To(BeTrue())
		Expect(run(ctx, "rmpeer", "host3", "--assert-down", "-o", "name").succeed()).To(Equal("peerremoval.net.selvage.dev/host3\n"))
		Expect(removalOf(ctx, "host3").UID).To(Equal(uid))
	})

	It("replaces a removal that is bound to a former instance", func(ctx SpecContext) {
		former := &v1alpha1.PeerRemoval{Spec: v1alpha1.PeerRemovalSpec{InstanceID: "instance-of-yore", Heir: "host2"}}
		former.Name, former.Finalizers = "host3", []string{v1alpha1.RemovalFinalizer}
		Expect(cluster.Admin.Create(ctx, former)).To(Succeed())

		session := background(ctx, "rmpeer", "host3", "--heir", "host1")
		cluster.Release(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(0))
		Expect(string(session.Out.Contents())).To(And(
			ContainSubstring("replacing the removal of a former instance of host3"), ContainSubstring("host3 replaced")))
		now := removalOf(ctx, "host3")
		Expect(now.UID).NotTo(Equal(former.UID))
		Expect(now.Spec.InstanceID).To(Equal("instance-of-host3"))
		Expect(now.Spec.Heir).To(Equal("host1"))
	})

	It("waits no longer than told, and leaves the removal standing", func(ctx SpecContext) {
		a := run(ctx, "rmpeer", "host3", "--heir", "host1", "--wait", "--timeout", "2s")
		a.fail(4, "timed out: removing host3 … waiting for the controller to accept the removal", "it goes on without you")
		removalOf(ctx, "host3")

		session := background(ctx, "rmpeer", "host3", "--heir", "host1", "--wait")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("removing host3"))
		session.Signal(syscall.SIGINT)
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(130))
		Expect(session.Err).To(gbytes.Say("interrupted: removing host3"))
	})

	It("says so if the removal is cancelled by somebody else meanwhile", func(ctx SpecContext) {
		session := background(ctx, "rmpeer", "host3", "--wait")
		cluster.Accept(ctx, "host3", "waiting for a drain")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("waiting for a drain"))
		Expect(cluster.Admin.Delete(ctx, removalOf(ctx, "host3"))).To(Succeed())
		cluster.Cancelled(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(1))
		Expect(session.Err).To(gbytes.Say("the removal of host3 was cancelled"))
	})

	It("goes on waiting while the API server is away", func(ctx SpecContext) {
		session := background(ctx, "rmpeer", "host3", "--heir", "host1", "--wait")
		cluster.Accept(ctx, "host3", "waiting")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("fencing host3 … waiting"))
		cluster.Plane.APIServer.Stop()
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("the API server does not answer"))
		Expect(cluster.Plane.APIServer.Start(ctx)).To(Succeed())
		Eventually(func() error { return cluster.Admin.List(ctx, &v1alpha1.PeerList{}) }).WithTimeout(patience).Should(Succeed())
		cluster.Transfer(ctx, "host3", "host1")
		cluster.CutOff(ctx, "host1", "host3")
		cluster.CutOff(ctx, "host2", "host3")
		cluster.Finish(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(0))
		Expect(session).To(gbytes.Say("524288 IPs taken over from host3"))
	})

	It("writes a document to standard output and progress beside it", func(ctx SpecContext) {
		session := background(ctx, "rmpeer", "host3", "--wait", "-o", "jsonpath={.status.phase}")
		cluster.Accept(ctx, "host3", "waiting")
		cluster.Transfer(ctx, "host3", "")
		cluster.Finish(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(0))
		Expect(string(session.Out.Contents())).To(Equal("Removed"))
		Expect(string(session.Err.Contents())).To(ContainSubstring("524288 IPs of host3 went back to their pools\n"))
	})

	It("keeps out a node that never joined, but no mistyped name", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host44").fail(1, `"host44" is no peer's name`)
		noRemovalOf(ctx, "host44")
		run(ctx, "rmpeer", "host4").succeed()
		Expect(removalOf(ctx, "host4").Spec.InstanceID).To(BeEmpty())
	})

	DescribeTable("what cannot be meant", func(ctx SpecContext, code int, words string, args ...string) {
		run(ctx, args...).fail(code, words)
		noRemovalOf(ctx, "host3")
	},
		Entry("no name", 2, "takes one NAME", "rmpeer"),
		Entry("two names", 2, "takes one NAME", "rmpeer", "host3", "host2"),
		Entry("its own heir", 2, "cannot be its own heir", "rmpeer", "host3", "--heir", "192.168.77.13"),
		Entry("an unknown heir", 1, `--heir: "host9" is no peer's name`, "rmpeer", "host3", "--heir", "host9"),
		Entry("an empty heir", 2, "--heir is empty", "rmpeer", "host3", "--heir", ""),
		Entry("a timeout without a wait", 2, "--timeout is for --wait", "rmpeer", "host3", "--timeout", "1m"),
		Entry("a negative timeout", 2, "not negative", "rmpeer", "host3", "--wait", "--timeout", "-1m"),
		Entry("an unknown flag", 2, "unknown flag: --force", "rmpeer", "host3", "--force"),
		Entry("an unknown format", 2, "-o xml is not a format", "rmpeer", "host3", "-o", "xml"),
	)

	It("refuses an heir that is leaving itself", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host1").succeed()
		run(ctx, "rmpeer", "host3", "--heir", "host1").fail(1, "--heir: host1 is being removed already", "name a peer that stays")
	})
})

var _ = Describe("cancelling", func() {
	BeforeEach(setStage)

	It("takes a removal back", func(ctx SpecContext) {
		run(ctx, "cancel", "host3").fail(1, "there is no removal of host3 to cancel")
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		session := background(ctx, "cancel", "192.168.77.13")
		Eventually(func() bool { return removalOf(ctx, "host3").DeletionTimestamp != nil }).WithTimeout(patience).Should(BeTrue())
		Expect(run(ctx, "status").succeed()).To(ContainSubstring("cancelling the removal of host3 … waiting for the controller's verdict"))
		cluster.Cancelled(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(0))
		Expect(session).To(gbytes.Say("the removal of host3 is cancelled"))
	})

	It("says when it is too late, changes nothing, and what happened instead", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		cluster.Transfer(ctx, "host3", "host1")
		run(ctx, "cancel", "host3").fail(1, "too late to cancel: host3 is being removed already (Transferring), and host1 is its heir")
		cluster.Finish(ctx, "host3")
		run(ctx, "cancel", "host3").fail(1, "too late to cancel: host3 has been removed already: host1 took over 524288 IPs at", "kubectl delete peerremoval host3")
		Expect(removalOf(ctx, "host3").DeletionTimestamp).To(BeNil())
	})

	It("says what happened if the deletion came a moment too late", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		session := background(ctx, "cancel", "host3")
		Eventually(func() bool { return removalOf(ctx, "host3").DeletionTimestamp != nil }).WithTimeout(patience).Should(BeTrue())
		cluster.Transfer(ctx, "host3", "host1")
		cluster.Finish(ctx, "host3")
		cluster.Release(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(1))
		Expect(session.Err).To(gbytes.Say("too late to cancel: host3 has been removed already: host1 took over 524288 IPs"))
	})

	It("says what it waits for when the time is up", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		run(ctx, "cancel", "host3", "--timeout", "2s").fail(4, "timed out: the removal of host3 is deleted, and waits for the controller's verdict")
	})
})

var _ = Describe("resetting", func() {
	BeforeEach(setStage)

	It("asks first", func(ctx SpecContext) {
		run(ctx, "reset", "host3").fail(2, "its 524288 addresses (2 ranges, 30 in use) go back to their pools", "--yes")
		noRemovalOf(ctx, "host3")
	})

	It("asks on a terminal, and takes the peer's name for an answer", func(ctx SpecContext) {
		script, err := exec.LookPath("script")
		Expect(err).NotTo(HaveOccurred(), "script, of util-linux, makes a terminal")
		cmd, _, _ := command(ctx, cluster.Plane.Kubeconfig)
		cmd.Args = []string{script, "-qefc", "kubectl selvage reset host3", "/dev/null"}
		cmd.Path = script
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &out, bytes.NewBufferString("no\n")
		Expect(cmd.Run()).NotTo(Succeed())
		Expect(out.String()).To(And(ContainSubstring("Type its name to go on"), ContainSubstring("nothing was done")))
		noRemovalOf(ctx, "host3")
	})

	It("removes the peer, and lets it join from scratch", func(ctx SpecContext) {
		session := background(ctx, "reset", "host3", "--yes")
		cluster.Accept(ctx, "host3", "waiting for a drain")
		Expect(removalOf(ctx, "host3").Spec.InstanceID).To(Equal("instance-of-host3"))
		cluster.Transfer(ctx, "host3", "")
		cluster.Finish(ctx, "host3")
		cluster.Release(ctx, "host3")
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(0))
		Expect(string(session.Out.Contents())).To(And(
			ContainSubstring("524288 IPs of host3 went back to their pools\n"),
			ContainSubstring("host3 may join again: its agent starts from scratch\n")))
		noRemovalOf(ctx, "host3")
	})

	It("leaves a removal with an heir alone", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		run(ctx, "reset", "host3", "--yes").fail(1, "host3 is being removed already (Pending), and host1 is its heir")
	})
})
