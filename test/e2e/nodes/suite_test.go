// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package nodes tests Selvage on real nodes: kubelet, containerd and
// kube-proxy, each node in namespaces of its own, with Selvage installed from
// config/default.
package nodes

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

const source = "../../.."

// s is the cluster of the whole suite.
var s *stage.Stage

func TestNodes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: nodes are namespaces and control groups, which takes root")
	}
	log.SetLogger(logr.Discard())
	RegisterFailHandler(Fail)
	RunSpecs(t, "Nodes")
}

var _ = BeforeSuite(func(ctx context.Context) {
	var err error
	s, err = stage.Up(ctx, stage.Options{Source: source, Options: nodes.Options{Out: GinkgoWriter, Count: 3}})
	Expect(err).NotTo(HaveOccurred())
	Expect(s.Observe(ctx)).To(Succeed())
}, NodeTimeout(20*time.Minute))

var _ = AfterSuite(func(ctx context.Context) {
	if s != nil {
		Expect(s.Down(ctx)).To(Succeed())
	}
}, NodeTimeout(2*time.Minute))

// After each test nothing may be broken; if something is, the evidence is kept.
var _ = AfterEach(func(ctx context.Context) {
	if s == nil {
		return
	}
	said, err := s.Witness.Verdict()
	if err == nil && !CurrentSpecReport().Failed() {
		said, err = s.Selvage(ctx, "check")
	}
	if err != nil || CurrentSpecReport().Failed() {
		dir := s.EvidenceDir(CurrentSpecReport().FullText())
		AddReportEntry("evidence", dir)
		Expect(s.Evidence(ctx, dir)).To(Succeed())
	}
	Expect(err).NotTo(HaveOccurred(), said)
}, NodeTimeout(time.Minute))
