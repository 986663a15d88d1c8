// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"bytes"
	"context"
	"errors"
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

var cluster *scripted.Network

// ginkgosOwn waits for Ctrl-C until the end.
var ginkgosOwn = goleak.IgnoreAnyFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2")

// TestMain fails if anything leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, ginkgosOwn) }

func TestKubectl(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "kubectl selvage")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	cluster = scripted.New(ctx, map[string]string{
		"host1": "192.168.77.11", "host2": "192.168.77.12", "host3": "192.168.77.13", "host4": "192.168.77.14",
	})
}, NodeTimeout(30*time.Minute))

// answer is what the program printed, and how it ended.
type answer struct {
	out, err string
	code     int
}

// run runs kubectl selvage as an administrator.
func run(ctx context.Context, args ...string) answer {
	GinkgoHelper()
	return runAs(ctx, cluster.Plane.Kubeconfig, args...)
}

func runAs(ctx context.Context, kubeconfig string, args ...string) answer {
	GinkgoHelper()
	cmd, stdout, stderr := command(ctx, kubeconfig, args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		Expect(err).NotTo(HaveOccurred())
	}
	a := answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	GinkgoWriter.Printf("$ kubectl selvage %v\n%s%s(%d)\n", args, a.out, a.err, a.code)
	return a
}

// command prepares the program.
func command(ctx context.Context, kubeconfig string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := cluster.Command(ctx, kubeconfig, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

// succeed expects exit code 0, and returns what was printed.
func (a answer) succeed() string {
	GinkgoHelper()
	Expect(a.code).To(Equal(0), a.out+a.err)
	return a.out
}

// fail expects that exit code and these words in the error.
func (a answer) fail(code int, words ...string) {
	GinkgoHelper()
	Expect(a.code).To(Equal(code), a.out+a.err)
	for _, w := range words {
		Expect(a.err).To(ContainSubstring(w))
	}
}
