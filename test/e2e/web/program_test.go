// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"context"
	"os/exec"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
)

// command is the program, run by an administrator.
func command(ctx context.Context, args ...string) *exec.Cmd {
	return cluster.Command(ctx, cluster.Plane.Kubeconfig, args...)
}

// run runs the program and returns what it printed.
func run(ctx context.Context, args ...string) string {
	GinkgoHelper()
	cmd := command(ctx, args...)
	cmd.Stderr = GinkgoWriter
	out, err := cmd.Output()
	Expect(err).NotTo(HaveOccurred())
	return string(out)
}

// serve starts kubectl selvage web, and returns it and the address of the page.
func serve(ctx context.Context, args ...string) (*gexec.Session, string) {
	GinkgoHelper()
	session, err := gexec.Start(command(context.WithoutCancel(ctx), append([]string{"web"}, args...)...), GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { session.Interrupt().Wait(patience) })
	Eventually(session).WithTimeout(patience).Should(gbytes.Say(`http://127\.0\.0\.1:\d+/\S+/\n`))
	return session, strings.TrimSpace(string(session.Out.Contents()))
}
