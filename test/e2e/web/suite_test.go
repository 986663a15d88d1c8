// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"flag"
	"os/exec"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/selvage-net/selvage/test/e2e/scripted"
)

const (
	namespace = scripted.Namespace
	patience  = scripted.Patience
)

var updateScreenshots = flag.Bool("update-screenshots", false, "take the pictures in docs/images anew")

var cluster *scripted.Network

// ginkgosOwn waits for Ctrl-C until the end.
var ginkgosOwn = goleak.IgnoreAnyFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2")

// TestMain fails if anything leaves a goroutine behind.
func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m, ginkgosOwn)
}

func TestWeb(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "kubectl selvage web")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	_, err := exec.LookPath(chromium)
	Expect(err).NotTo(HaveOccurred(), "these tests need a browser: hack/setup.sh installs Debian's chromium")
	cluster = scripted.New(ctx, map[string]string{
		"host1": "192.168.77.11", "host2": "192.168.77.12", "host3": "192.168.77.13",
		"host4": "192.168.77.14", "host5": "192.168.77.15", "host6": "192.168.77.16",
	})
}, NodeTimeout(30*time.Minute))
