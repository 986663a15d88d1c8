// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"
	"os/exec"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// startController runs the real one, until the spec ends.
func startController(ctx context.Context) {
	GinkgoHelper()
	program := cluster.Build(ctx, "selvage-controller")
	kubeconfig, _, err := cluster.Plane.KubeconfigFor(ctx, namespace, "selvage-controller", nil)
	Expect(err).NotTo(HaveOccurred())
	cmd := exec.Command(program, "--kubeconfig", kubeconfig, "--leader-elect", "--namespace", namespace,
		"--metrics-bind-address", "0", "--health-probe-bind-address", "0", "--log-format", "console", "--lease-duration", "5s")
	session, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { session.Kill().Wait(patience) })
}

var _ = Describe("with the real controller", Ordered, func() {
	var host1, host2, host3, host4 *agent
	BeforeAll(func(ctx SpecContext) {
		DeferCleanup(strike)
		bits := int32(14)
		Expect(cluster.Admin.Create(ctx, &v1alpha1.AddressPool{
			ObjectMeta: named("default"),
			Spec:       v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/11", RangePrefixLength: &bits, MaxRangePrefixLength: &bits},
		})).To(Succeed())
		startController(ctx)
		host1, host2, host3, host4 = play("host1", 0), play("host2", 0), play("host3", 262145), play("host4", 0)
		Eventually(func() string { return run(ctx, "peers").out }).WithTimeout(patience).Should(And(
			MatchRegexp(`host1\s+Active\s+1\s+262144`), MatchRegexp(`host2\s+Active\s+1\s+262144`),
			MatchRegexp(`host3\s+Active\s+2\s+524288`), MatchRegexp(`host4\s+Active\s+1\s+262144`)))
		Eventually(func() int { return run(ctx, "check").code }).WithTimeout(patience).Should(Equal(0))
	}, NodeTimeout(2*patience))

	It("removes a peer that has caught fire", func(ctx SpecContext) {
		host3.stop()
		session := background(ctx, "rmpeer", "host3", "--heir", "host1", "--wait")
		Eventually(session).WithTimeout(patience).Should(gbytes.Say("(fencing|removing) host3 … "))
		run(ctx, "rmpeer", "host3", "--heir", "host2").fail(1, "host3 is being removed already", "host1 is its heir")
		Eventually(func() string { return run(ctx, "status").out }).WithTimeout(patience).Should(ContainSubstring("removal of host3 (Declared, heir host1"))
		Eventually(session).WithTimeout(patience).Should(gexec.Exit(0))
		Expect(session).To(gbytes.Say("lease sealed; cut off by 3 of 3 peers"))
		Expect(string(session.Out.Contents())).To(HaveSuffix("\n524288 IPs taken over from host3\n"))
		run(ctx, "rmpeer", "host3", "--heir", "host2").fail(1, "error: host3 has been removed already: host1 took over 524288 IPs at ")
		Expect(run(ctx, "ipam").succeed()).To(MatchRegexp(`host1\s+786432 IPs`))
		Expect(run(ctx, "check").succeed()).To(ContainSubstring("all invariants hold"))
		run(ctx, "cancel", "host3").fail(1, "too late to cancel")
	})

	It("takes a removal back", func(ctx SpecContext) {
		host4.set(func(a *agent) { a.deaf = true })
		run(ctx, "rmpeer", "host4").succeed()
		Eventually(func() string { return run(ctx, "status").out }).WithTimeout(patience).Should(ContainSubstring("fencing host4 … "))
		Expect(run(ctx, "cancel", "host4", "--timeout", patience.String()).succeed()).To(HaveSuffix("the removal of host4 is cancelled\n"))
		Eventually(func() string { return run(ctx, "peers", "host4").succeed() }).WithTimeout(patience).Should(MatchRegexp(`host4\s+Active\s+1\s+262144`))
		host4.set(func(a *agent) { a.deaf = false })
	})

	It("resets a living peer", func(ctx SpecContext) {
		before := &v1alpha1.Peer{}
		Expect(cluster.Admin.Get(ctx, client.ObjectKey{Name: "host2"}, before)).To(Succeed())
		out := run(ctx, "reset", "host2", "--yes", "--timeout", patience.String()).succeed()
		Expect(out).To(And(ContainSubstring("262144 IPs of host2 went back to their pools\n"), HaveSuffix("host2 may join again: its agent starts from scratch\n")))
		Eventually(func(g Gomega) {
			after := &v1alpha1.Peer{}
			g.Expect(cluster.Admin.Get(ctx, client.ObjectKey{Name: "host2"}, after)).To(Succeed())
			g.Expect(after.UID).NotTo(Equal(before.UID))
			g.Expect(run(ctx, "peers", "host2").out).To(MatchRegexp(`host2\s+Active\s+1\s+262144`))
		}).WithTimeout(patience).Should(Succeed())
		Eventually(func() int { return run(ctx, "check").code }).WithTimeout(patience).Should(Equal(0))
	})

	It("keeps out a node that never joined", func(ctx SpecContext) {
		_, err := cluster.Plane.NewNode(ctx, "host5")
		Expect(err).NotTo(HaveOccurred())
		Expect(run(ctx, "rmpeer", "host5", "--wait", "--timeout", patience.String()).succeed()).To(ContainSubstring("host5 never joined"))
		Expect(run(ctx, "rmpeer", "host5").succeed()).To(ContainSubstring("host5 has been removed already: it never joined, and is kept out"))
	})

	It("finishes with everything stopped", func() {
		for _, a := range []*agent{host1, host2, host4} {
			a.stop()
		}
	})
})
