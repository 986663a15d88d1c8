// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cni

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/test/standalone"
)

// chained is where Debian has the plugins that follow ours in a chain.
const chained = "/usr/lib/cni"

// patience is for what happens by itself: machines may be slow.
const patience = 60 * time.Second

// binaries is the directory of our plugin.
var binaries string

// ginkgosOwn waits for Ctrl-C until the end.
var ginkgosOwn = goleak.IgnoreAnyFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2")

func TestMain(m *testing.M) {
	standalone.BecomeAgent()
	goleak.VerifyTestMain(m, ginkgosOwn)
}

func TestCNI(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: these tests make network namespaces and must be run as root")
	}
	if _, err := os.Stat(filepath.Join(chained, "portmap")); err != nil {
		t.Fatalf("NOT RUN: the plugins of a chain are missing, apt-get install containernetworking-plugins: %v", err)
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	RunSpecs(t, "CNI")
}

var _ = BeforeSuite(func(ctx context.Context) {
	// A runtime's umask must not matter; a restrictive one finds out.
	unix.Umask(0o077)
	binaries = GinkgoT().TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(binaries, "selvage"), "../../../cmd/selvage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
})
