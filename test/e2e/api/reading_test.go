// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

var _ = Describe("somebody who reads", func() {
	BeforeEach(func(ctx SpecContext) { setTheScene(ctx) })

	names := func(ctx context.Context, args ...string) []string {
		GinkgoHelper()
		out, err := who.pipeline.kubectl(ctx, append([]string{"get", "-o", "name"}, args...)...)
		Expect(err).NotTo(HaveOccurred(), out)
		return strings.Fields(out)
	}

	It("gets everything at once as selvage", func(ctx SpecContext) {
		Expect(names(ctx, "selvage")).To(ContainElements(
			"addresspool.net.selvage.dev/default", "addressrange.net.selvage.dev/10.33.0.0",
			"peer.net.selvage.dev/host3", "peerremoval.net.selvage.dev/host3"))
	})

	It("uses short names", func(ctx SpecContext) {
		Expect(names(ctx, "apool")).To(ConsistOf("addresspool.net.selvage.dev/default"))
		Expect(names(ctx, "arange")).To(HaveLen(5))
		Expect(names(ctx, "rmpeer")).To(ConsistOf("peerremoval.net.selvage.dev/host3"))
	})

	It("selects ranges by owner and by pool, and peers by node", func(ctx SpecContext) {
		Expect(names(ctx, "addressranges", "--field-selector", "spec.owner.name=host3")).To(ConsistOf("addressrange.net.selvage.dev/10.33.0.0"))
		Expect(names(ctx, "addressranges", "--field-selector", "spec.owner.name=")).To(HaveLen(3))
		Expect(names(ctx, "addressranges", "--field-selector", "spec.pool=default")).To(HaveLen(5))
		Expect(names(ctx, "addressranges", "--field-selector", "spec.pool=other")).To(BeEmpty())
		Expect(names(ctx, "peers", "--field-selector", "spec.nodeName=host1")).To(ConsistOf("peer.net.selvage.dev/host1"))
	})

	DescribeTable("sees the columns", func(ctx SpecContext, plural string, columns ...string) {
		out, err := who.pipeline.kubectl(ctx, "get", plural)
		Expect(err).NotTo(HaveOccurred(), out)
		header, _, _ := strings.Cut(out, "\n")
		Expect(strings.Fields(header)).To(Equal(columns))
	},
		Entry("of peers, as in the story", "peers", "NAME", "PHASE", "RANGES", "ADDRESSES", "USED", "AGE", "MESSAGE"),
		Entry("of removals", "peerremovals", "NAME", "HEIR", "PHASE", "EVIDENCE", "ADDRESSES", "AGE", "MESSAGE"),
		Entry("of ranges", "addressranges", "NAME", "CIDR", "POOL", "OWNER", "EPOCH", "USED", "AGE"),
		Entry("of pools", "addresspools", "NAME", "CIDR", "TOTAL", "ASSIGNED", "USED", "FREE", "READY", "AGE"),
	)

	It("sees the story's line of a peer under removal", func(ctx SpecContext) {
		condition(ctx, kindPeer, "host3", `{phase: Fencing, ranges: 2, addresses: 524288, used: 30, `,
			`{type: Ready, status: "False", reason: WaitingForLease, message: "waiting for host3's lease to run out (48s left), or proof that it is down"}`)
		out, err := who.pipeline.kubectl(ctx, "get", "peer", "host3", "--no-headers")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(MatchRegexp(`^host3\s+Fencing\s+2\s+524288\s+30\s+\S+\s+waiting for host3's lease to run out \(48s left\), or proof that it is down\s*$`))
	})

	It("has every kind and the finest field explained", func(ctx SpecContext) {
		for _, path := range []string{"addresspool.spec.nodeSelector.matchExpressions.operator", "addressrange.spec.owner.uid", "peer.status.agent.fenced.generation", "rmpeer.spec.heir", "peer", "apool", "arange", "rmpeer"} {
			out, err := who.pipeline.kubectl(ctx, "explain", path)
			Expect(err).NotTo(HaveOccurred(), out)
			_, description, found := strings.Cut(out, "DESCRIPTION:\n")
			Expect(found).To(BeTrue(), out)
			Expect(strings.TrimSpace(description)).NotTo(HavePrefix("<empty>"), path)
		}
	})
})

// TestEveryFieldIsExplained needs no API server: kubectl explain prints the
// schemas' descriptions.
func TestEveryFieldIsExplained(t *testing.T) {
	for _, d := range definitions(t) {
		fields := 0
		walk(d.Spec.Versions[0].Schema.OpenAPIV3Schema, "", func(at string, s *apiextensionsv1.JSONSchemaProps) {
			fields++
			// The API server describes metadata itself; items are described by their list.
			if at != ".metadata" && !strings.HasSuffix(at, "[]") && strings.TrimSpace(s.Description) == "" {
				t.Errorf("%s%s has no description", d.Spec.Names.Kind, at)
			}
		})
		if fields < 10 {
			t.Errorf("%s: only %d fields were found", d.Spec.Names.Kind, fields)
		}
	}
}

// condition writes a status as the controller does: it speaks of the object's
// present generation. status is the beginning of a YAML flow map.
func condition(ctx context.Context, kind, name, status string, conditions ...string) {
	GinkgoHelper()
	for i, c := range conditions {
		conditions[i] = strings.TrimSuffix(c, "}") + `, lastTransitionTime: "2026-01-01T00:00:00Z"}`
	}
	body := fmt.Sprintf("status: %sobservedGeneration: %d, conditions: [%s]}",
		status, get(ctx, who.admin, kind, name).GetGeneration(), strings.Join(conditions, ", "))
	Expect(patch(ctx, who.controller, kind, name, body)).To(Succeed(), body)
}

// What GitOps engines make of each kind.
var _ = Describe("kstatus", func() {
	BeforeEach(func(ctx SpecContext) { setTheScene(ctx) })
	const (
		ready       = `{type: Ready, status: "True", reason: Done, message: done}`
		notReady    = `{type: Ready, status: "False", reason: Waiting, message: waiting}`
		reconciling = `{type: Reconciling, status: "True", reason: Waiting, message: waiting}`
		settled     = `{type: Reconciling, status: "False", reason: Settled, message: ""}`
		stalled     = `{type: Stalled, status: "True", reason: HeirNotReady, message: the heir is being removed}`
	)
	DescribeTable("reads", func(ctx SpecContext, kind, name string, want kstatus.Status, conditions ...string) {
		if len(conditions) > 0 {
			condition(ctx, kind, name, "{", conditions...)
		}
		got, err := kstatus.Compute(get(ctx, who.admin, kind, name))
		Expect(err).NotTo(HaveOccurred())
		Expect(got.Status).To(Equal(want), got.Message)
	},
		Entry("a PeerRemoval that no controller has looked at", kindRemoval, "host3", kstatus.InProgressStatus),
		Entry("a PeerRemoval that fences", kindRemoval, "host3", kstatus.InProgressStatus, notReady, reconciling),
		Entry("a PeerRemoval that only a person can move on", kindRemoval, "host3", kstatus.FailedStatus, notReady, settled, stalled),
		Entry("a PeerRemoval that is done", kindRemoval, "host3", kstatus.CurrentStatus, ready, settled),
		Entry("a pool that no controller has looked at", kindPool, "default", kstatus.InProgressStatus),
		Entry("a pool that is accepted", kindPool, "default", kstatus.CurrentStatus, ready, settled),
		Entry("a pool that overlaps another", kindPool, "default", kstatus.FailedStatus, notReady, settled, stalled),
		Entry("a Peer that no controller has looked at", kindPeer, "host3", kstatus.InProgressStatus),
		Entry("a Peer that serves", kindPeer, "host3", kstatus.CurrentStatus, ready, settled),
		Entry("a Peer that is being removed", kindPeer, "host3", kstatus.InProgressStatus, notReady, reconciling),
		Entry("an AddressRange", kindRange, "10.33.0.0", kstatus.CurrentStatus),
	)

	It("reads a change of a removal that is done as unfinished", func(ctx SpecContext) {
		condition(ctx, kindRemoval, "host3", "{", ready, settled)
		Expect(patch(ctx, who.pipeline, kindRemoval, "host3", `spec: {assertDown: true}`)).To(Succeed())
		got, err := kstatus.Compute(get(ctx, who.admin, kindRemoval, "host3"))
		Expect(err).NotTo(HaveOccurred())
		Expect(got.Status).To(Equal(kstatus.InProgressStatus))
	})

	It("reads a cancelled PeerRemoval as going", func(ctx SpecContext) {
		Expect(who.pipeline.Delete(ctx, empty(kindRemoval, "host3"))).To(Succeed())
		got, err := kstatus.Compute(get(ctx, who.admin, kindRemoval, "host3"))
		Expect(err).NotTo(HaveOccurred())
		Expect(got.Status).To(Equal(kstatus.TerminatingStatus))
	})
})
