// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"
	"encoding/json"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

func runningPod(ctx context.Context, name, node string, address string) *corev1.Pod {
	GinkgoHelper()
	pod, err := cluster.Plane.NewPod(ctx, "default", name, node, "")
	Expect(err).NotTo(HaveOccurred())
	Expect(cluster.Plane.SetPodAddresses(ctx, pod, netip.MustParseAddr(address))).To(Succeed())
	return pod
}

// broken expects exit code 3, and returns what was found of that invariant.
func broken(ctx context.Context, invariant string, words ...string) {
	GinkgoHelper()
	a := run(ctx, "check")
	a.fail(3, "broken: "+invariant)
	for _, w := range words {
		Expect(a.out).To(ContainSubstring(w))
	}
	var report struct {
		OK         bool
		Invariants []struct {
			Name, Verdict string
			Findings      []struct{ Object string }
		}
	}
	again := run(ctx, "check", "-o", "json")
	Expect(again.code).To(Equal(3))
	Expect(json.Unmarshal([]byte(again.out), &report)).To(Succeed())
	Expect(report.OK).To(BeFalse())
	for _, inv := range report.Invariants {
		if inv.Verdict == "broken" {
			Expect(invariant).To(ContainSubstring(inv.Name))
			Expect(inv.Findings).NotTo(BeEmpty())
		}
	}
}

var _ = Describe("checking", func() {
	BeforeEach(setStage)

	It("finds nothing where nothing is broken", func(ctx SpecContext) {
		runningPod(ctx, "web", "host1", "10.32.0.7")
		out := run(ctx, "check").succeed()
		Expect(out).To(And(ContainSubstring("checked 1 addresspools, 0 peerremovals, 3 peers, 4 addressranges"), ContainSubstring("all invariants hold")))
		Expect(run(ctx, "check", "-o", "jsonpath={.ok}").succeed()).To(Equal("true"))
		Expect(run(ctx, "check", "-o", "wide").succeed()).To(ContainSubstring("Disjoint    holds: no two ranges overlap"))
	})

	It("finds nothing broken at any moment of a removal", func(ctx SpecContext) {
		runningPod(ctx, "leftover", "host3", "10.40.0.7")
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		run(ctx, "check").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		run(ctx, "check").succeed()
		cluster.Transfer(ctx, "host3", "host1")
		run(ctx, "check").succeed()
		cluster.CutOff(ctx, "host1", "host3")
		cluster.CutOff(ctx, "host2", "host3")
		cluster.Finish(ctx, "host3")
		out := run(ctx, "check").succeed()
		Expect(out).To(ContainSubstring("~ pod/default/leftover"))
		Expect(out).To(ContainSubstring("its node is out of the network, and it is not heard"))
	})

	It("finds ranges that overlap", func(ctx SpecContext) {
		cluster.Grant(ctx, "default", "10.46.0.0/16", "host1", 0)
		broken(ctx, "Disjoint", "10.46.0.0/16 of host1 overlaps 10.44.0.0/14 of host3")
	})

	It("finds a range outside its pool", func(ctx SpecContext) {
		cluster.Grant(ctx, "default", "10.99.0.0/16", "host1", 0)
		broken(ctx, "WellFormed", "10.99.0.0/16 is not of pool default (10.32.0.0/12)")
	})

	It("finds a range of a pool that is not accepted, or does not exist", func(ctx SpecContext) {
		cluster.Grant(ctx, "none", "10.99.0.0/16", "host1", 0)
		broken(ctx, "Disjoint", "cut from addresspool/none, which does not exist")
	})

	It("finds accepted pools that overlap", func(ctx SpecContext) {
		cluster.Pool(ctx, "second", "10.40.0.0/16", 24, 24, nil)
		broken(ctx, "Disjoint", "10.40.0.0/16 overlaps 10.32.0.0/12 of addresspool/default")
	})

	It("finds an owner that does not exist", func(ctx SpecContext) {
		r := cluster.Claim(ctx, "default", "10.99.0.0/16")
		r.Spec.Owner, r.Spec.Epoch = &v1alpha1.PeerReference{Name: "ghost", UID: "0123"}, 1
		Expect(cluster.Controller.Update(ctx, r)).To(Succeed())
		broken(ctx, "NoLoss, WellFormed", "owned by ghost with uid 0123, and there is no such Peer")
	})

	It("finds an epoch that an agent has seen and the record has not", func(ctx SpecContext) {
		cluster.Pool(ctx, "other", "10.48.0.0/16", 24, 24, nil)
		r := cluster.Grant(ctx, "other", "10.48.0.0/24", "host3", 0)
		cluster.Observe(ctx, r, 7, 0)
		broken(ctx, "Monotone", "its agent acts on epoch 7, and the record says 1")
	})

	It("finds a lease that is not sealed after a removal", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		cluster.Transfer(ctx, "host3", "host1")
		cluster.Finish(ctx, "host3")
		cluster.Lease(ctx, "host3", string(cluster.Peer(ctx, "host3").UID)+"/run2", "", "")
		broken(ctx, "Fenced", "peer/host3: it is Removed, and its lease is not sealed")
	})

	It("finds two peers with one underlay address", func(ctx SpecContext) {
		cluster.Update(ctx, "host2", func(p *v1alpha1.Peer) { p.Status.Underlay = []string{cluster.Hosts["host1"]} })
		broken(ctx, "Fenced", "192.168.77.11 is also that of peer/host1")
	})

	It("finds ranges that went to somebody else than the heir", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		cluster.Transfer(ctx, "host3", "host1")
		cluster.GrantAgain(ctx, "10.44.0.0", "host2")
		cluster.Finish(ctx, "host3")
		broken(ctx, "OneHeir", "addressrange/10.44.0.0: went from host3 to host2, and the heir is host1")
	})

	It("finds a removed peer that owns something", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		cluster.Transfer(ctx, "host3", "host1")
		cluster.Finish(ctx, "host3")
		cluster.GrantAgain(ctx, "10.44.0.0", "host3")
		broken(ctx, "OneHeir", "still owned by host3, which is Removed")
	})

	It("finds an address on two pods", func(ctx SpecContext) {
		runningPod(ctx, "one", "host1", "10.32.0.7")
		runningPod(ctx, "two", "host1", "10.32.0.7")
		broken(ctx, "OneHolder", "has 10.32.0.7, and so has pod/default/one on node host1")
	})

	It("finds a pod with another peer's address, or with nobody's", func(ctx SpecContext) {
		runningPod(ctx, "lost", "host1", "10.36.0.7")
		broken(ctx, "OneHolder", "on node host1 has 10.36.0.7, which belongs to host2 (addressrange/10.36.0.0)")
	})

	It("leaves pods of another network alone", func(ctx SpecContext) {
		runningPod(ctx, "elsewhere", "host1", "172.16.0.7")
		run(ctx, "check").succeed()
	})
})
