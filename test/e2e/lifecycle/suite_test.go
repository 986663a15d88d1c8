// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package lifecycle installs Selvage on real nodes as docs/install.md says,
// sends traffic every way that a pod's goes, deletes the installation
// impatiently, uninstalls it properly, and installs it again.
package lifecycle

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

const (
	source = "../../.."
	config = source + "/config/"
	pool   = "pool-dual"
	// limit is for kubectl to end: what hangs has no end.
	limit = "--timeout=120s"
)

// s is the cluster of the whole suite.
var s *stage.Stage

func TestLifecycle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: nodes are namespaces and control groups, which takes root")
	}
	log.SetLogger(logr.Discard())
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute)
	suite, reporter := GinkgoConfiguration()
	suite.RandomizeAllSpecs = false
	RunSpecs(t, "installed, used, uninstalled", suite, reporter)
}

var _ = BeforeSuite(func(ctx context.Context) {
	var err error
	s, err = stage.Up(ctx, stage.Options{Source: source, Pool: pool, Options: nodes.Options{
		Out: GinkgoWriter, Count: 3, Family: nodes.Dual,
		// kube-proxy translates the addresses of those who are not in there.
		PodRanges: []netip.Prefix{netip.MustParsePrefix("10.32.0.0/12"), netip.MustParsePrefix("fd00:10:32::/64")},
	}})
	Expect(err).NotTo(HaveOccurred())
	must(ctx, "apply", "-k", config+"crd-guard")
}, NodeTimeout(20*time.Minute))

var _ = AfterSuite(func(ctx context.Context) {
	if s != nil {
		Expect(s.Down(ctx)).To(Succeed())
	}
}, NodeTimeout(2*time.Minute))

// If a test fails, the evidence is kept.
var _ = AfterEach(func(ctx context.Context) {
	if s == nil || !CurrentSpecReport().Failed() {
		return
	}
	dir := s.EvidenceDir(CurrentSpecReport().FullText())
	AddReportEntry("evidence", dir)
	if err := s.Evidence(ctx, dir); err != nil {
		AddReportEntry("evidence is missing", err.Error()) // as when the kinds are gone already
	}
}, NodeTimeout(time.Minute))

// must is kubectl that succeeds.
func must(ctx context.Context, args ...string) string {
	GinkgoHelper()
	out, err := s.Kubectl(ctx, args...)
	GinkgoWriter.Printf("$ kubectl %s\n%s", strings.Join(args, " "), out)
	Expect(err).NotTo(HaveOccurred())
	return out
}
