// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

var _ = Describe("pods", func() {
	It("hear each other, on one node and across nodes", func(ctx context.Context) {
		a, b, c := stage.Pod("a", "node1"), stage.Pod("b", "node1"), stage.Pod("c", "node2")
		Expect(s.Start(ctx, a, b, c)).To(Succeed())
		for _, to := range []string{stage.Address(b), stage.Address(c)} {
			for _, network := range []string{"tcp", "udp"} {
				_, saw, err := s.Ask(ctx, a, network, to)
				Expect(err).NotTo(HaveOccurred())
				Expect(saw).To(Equal(a.Status.PodIP), "no address is translated between pods")
				Expect(netip.MustParsePrefix("10.32.0.0/12").Contains(netip.MustParseAddr(saw))).To(BeTrue())
			}
		}
		Expect(s.Delete(ctx, a, b, c)).To(Succeed())
	})
})
