// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"golang.org/x/sys/unix"
)

var _ = Describe("the map", func() {
	BeforeEach(setStage)

	It("draws who owns what, and what is moving", func(ctx SpecContext) {
		out := run(ctx, "map").succeed()
		Expect(out).To(ContainSubstring("pool default 10.32.0.0/12: 1048576 IPs, 100.0% owned, 0.0% free, 89 in use by 3 peers"))
		Expect(out).To(MatchRegexp(`(?m)^10\.32\.0\.0  B{16}C{16}A{32}$`))
		Expect(out).To(MatchRegexp(`A\s+host3\s+524288\s+50.0%\s+30\s+0.0%\s+2\s+ok`))
		Expect(out).NotTo(ContainSubstring("\x1b["), "colours belong on a terminal")

		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting for its lease to run out")
		out = run(ctx, "map").succeed()
		Expect(out).To(ContainSubstring("~ 10.40.0.0/14 and 1 more (524288 IPs) of host3, whose removal is under way; goes to host1"))
		Expect(out).To(ContainSubstring("removal of host3 (Declared, heir host1"))
		cluster.Transfer(ctx, "host3", "host1")
		Expect(run(ctx, "map").succeed()).To(ContainSubstring("> 10.40.0.0/14 and 1 more (524288 IPs) in transfer from host3 to host1"))
		cluster.Finish(ctx, "host3")
		Expect(run(ctx, "map").succeed()).To(MatchRegexp(`A\s+host1\s+786432\s+75.0%`))

		var doc struct {
			Kind  string
			Pools []struct {
				Owners []struct{ Peer string }
				Moving []struct{ Range, Mark, From, To string }
			}
		}
		Expect(json.Unmarshal([]byte(run(ctx, "map", "-o", "json").succeed()), &doc)).To(Succeed())
		Expect(doc.Kind).To(Equal("Map"))
		Expect(doc.Pools[0].Owners).To(HaveLen(2))
		// The new owner's agent has not taken the ranges up yet.
		Expect(fmt.Sprint(doc.Pools[0].Moving)).To(Equal("[{10.40.0.0/14 in-transfer host3 host1} {10.44.0.0/14 in-transfer host3 host1}]"))
		run(ctx, "map", "--rows", "0").fail(2, "--rows 0: between 1 and 256")
	})

	It("draws again when something changes, in place on a terminal", func(ctx SpecContext) {
		plain := background(ctx, "map", "--watch")
		coloured, endColoured := onTerminal(ctx, "TERM=xterm", "map", "--watch")
		uncoloured, endUncoloured := onTerminal(ctx, "NO_COLOR=1", "map", "--watch")
		for _, out := range []*gbytes.Buffer{plain.Out, coloured, uncoloured} {
			Eventually(out).WithTimeout(patience).Should(gbytes.Say("host3"))
		}
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting")
		for _, out := range []*gbytes.Buffer{plain.Out, coloured, uncoloured} {
			Eventually(out).WithTimeout(patience).Should(gbytes.Say("of host3, whose removal is under way"))
		}
		Expect(plain.Interrupt().Wait(patience)).To(HaveField("ExitCode()", 0))
		endColoured()
		endUncoloured()
		Expect(string(plain.Out.Contents())).NotTo(Or(ContainSubstring("\x1b"), ContainSubstring("not shown")))
		Expect(string(coloured.Contents())).To(And(ContainSubstring("\x1b[H"), ContainSubstring("\x1b[36m"), HaveSuffix("\x1b[?25h")))
		Expect(string(uncoloured.Contents())).To(And(ContainSubstring("\x1b[H"), Not(MatchRegexp("\x1b\\[[0-9]*m"))))
		Expect(string(coloured.Contents())).To(MatchRegexp("A{64}"), "as wide as the terminal")
	})
})

// onTerminal runs the program on a pseudoterminal of 150 columns: what it
// draws, and a function that interrupts it and waits for its end.
func onTerminal(ctx context.Context, env string, args ...string) (*gbytes.Buffer, func()) {
	GinkgoHelper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	Expect(err).NotTo(HaveOccurred())
	fd := int(master.Fd())
	Expect(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)).To(Succeed())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	Expect(err).NotTo(HaveOccurred())
	Expect(unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 150})).To(Succeed())
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	Expect(err).NotTo(HaveOccurred())
	cmd, _, _ := command(ctx, cluster.Plane.Kubeconfig, args...)
	cmd.Env = append(cmd.Env, env)
	cmd.Stdout, cmd.Stderr = slave, GinkgoWriter
	Expect(cmd.Start()).To(Succeed())
	Expect(slave.Close()).To(Succeed())
	drawn, read := gbytes.NewBuffer(), make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(drawn, master) // ends with the program, as an error
	}()
	return drawn, func() {
		GinkgoHelper()
		Expect(cmd.Process.Signal(syscall.SIGINT)).To(Succeed())
		Expect(cmd.Wait()).To(Succeed())
		<-read
		Expect(master.Close()).To(Succeed())
	}
}
