// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

var _ = Describe("looking", func() {
	BeforeEach(setStage)

	It("shows the network on one page", func(ctx SpecContext) {
		out := run(ctx, "status").succeed()
		Expect(out).To(ContainSubstring("default   10.32.0.0/12   1048576"))
		Expect(out).To(ContainSubstring("3 peers: 3 Active"))
		Expect(out).To(ContainSubstring("controller: controller-0 leads"))
		Expect(out).NotTo(ContainSubstring("\x1b["), "colours belong on a terminal")
	})

	It("says what a removal waits for, and what would move it on", func(ctx SpecContext) {
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		out := run(ctx, "status").succeed()
		Expect(out).To(ContainSubstring("removal of host3 (Declared, heir host1"))
		Expect(out).To(ContainSubstring("waiting for the controller to accept the removal"))

		cluster.Accept(ctx, "host3", "waiting for host3's lease to run out (48s left), or proof that it is down")
		out = run(ctx, "status").succeed()
		Expect(out).To(ContainSubstring("fencing host3 … waiting for host3's lease to run out (48s left), or proof that it is down"))
		Expect(out).To(ContainSubstring("kubectl selvage rmpeer host3 --heir host1 --assert-down"))
		Expect(out).To(ContainSubstring("kubectl selvage cancel host3"))

		cluster.Transfer(ctx, "host3", "host1")
		cluster.CutOff(ctx, "host1", "host3")
		out = run(ctx, "status").succeed()
		Expect(out).To(ContainSubstring("lease sealed; cut off by 1 of 2 peers; waiting for host2"))
		Expect(out).To(ContainSubstring("it can no longer be cancelled"))

		var doc struct {
			Kind     string
			Removals []struct {
				Peer, Phase, Next string
				Fence             struct{ CutOffBy, Missing []string }
			}
		}
		Expect(json.Unmarshal([]byte(run(ctx, "status", "-o", "json").succeed()), &doc)).To(Succeed())
		Expect(doc.Kind).To(Equal("Status"))
		Expect(doc.Removals).To(HaveLen(1))
		Expect(doc.Removals[0].Fence.CutOffBy).To(Equal([]string{"host1"}))
		Expect(doc.Removals[0].Fence.Missing).To(Equal([]string{"host2"}))

		cluster.Finish(ctx, "host3")
		out = run(ctx, "status").succeed()
		Expect(out).To(ContainSubstring("kept out: host3"))
		Expect(out).NotTo(ContainSubstring("removal of host3"))
	})

	It("lists peers as kubectl does, and finds them by any of their names", func(ctx SpecContext) {
		out := run(ctx, "peers").succeed()
		Expect(out).To(MatchRegexp(`NAME\s+PHASE\s+RANGES\s+ADDRESSES\s+USED\s+AGE\s+MESSAGE`))
		Expect(out).To(MatchRegexp(`host3\s+Active\s+2\s+524288\s+30`))
		Expect(run(ctx, "status", "peers").succeed()).To(ContainSubstring("host3"))
		Expect(run(ctx, "peers", "-o", "wide", "--no-headers").succeed()).To(MatchRegexp(`^host1 .*host1.rack7\s+192.168.77.11\s+held\s+v0.1.0\s+instance-of-host1`))

		for _, name := range []string{"host3", "peer/host3", "peer.net.selvage.dev/host3", "HOST3.rack7", "192.168.77.13", "10.44.3.4"} {
			Expect(run(ctx, "peers", name, "-o", "name").succeed()).To(Equal("peer.net.selvage.dev/host3\n"), name)
		}
		run(ctx, "peers", "10.20.0.1").fail(1, "no peer's name, host name or address", "host1, host2, host3")
		run(ctx, "peers", "host9").fail(1, `"host9" is no peer's name`)
	})

	It("prints what kubectl get prints", func(ctx SpecContext) {
		var list v1alpha1.PeerList
		Expect(json.Unmarshal([]byte(run(ctx, "peers", "-o", "json").succeed()), &list)).To(Succeed())
		Expect(list.Kind).To(Equal("List"))
		Expect(list.Items).To(HaveLen(3))
		Expect(list.Items[0].Kind).To(Equal("Peer"))

		var peer v1alpha1.Peer
		Expect(yaml.Unmarshal([]byte(run(ctx, "peers", "host2", "-o", "yaml").succeed()), &peer)).To(Succeed())
		Expect(peer.Spec.InstanceID).To(Equal("instance-of-host2"))
		Expect(peer.ManagedFields).To(BeEmpty())

		Expect(run(ctx, "peers", "-o", "name").succeed()).To(Equal(
			"peer.net.selvage.dev/host1\npeer.net.selvage.dev/host2\npeer.net.selvage.dev/host3\n"))
		Expect(run(ctx, "peers", "-o", "jsonpath={.items[*].metadata.name}").succeed()).To(Equal("host1 host2 host3"))
	})

	It("divides the pool as weave status ipam did", func(ctx SpecContext) {
		out := run(ctx, "status", "ipam").succeed()
		Expect(out).To(ContainSubstring("pool default 10.32.0.0/12: 1048576 IPs"))
		Expect(out).To(MatchRegexp(`host1\s+262144 IPs\s+25.0% of total\s+31 active\s+ok`))
		Expect(out).To(MatchRegexp(`host3\s+524288 IPs\s+50.0% of total\s+30 active\s+ok`))
		Expect(out).To(MatchRegexp(`\(free\)\s+0 IPs\s+0.0% of total`))

		cluster.Lease(ctx, "host2", v1alpha1.SealedHolder, "", "")
		Expect(run(ctx, "ipam", "-o", "wide").succeed()).To(MatchRegexp(`host2 .*unreachable!\s+10.36.0.0/14`))

		var doc struct {
			Pools []struct {
				Pool, Total string
				Shares      []struct {
					Peer      string
					Addresses int64
					Percent   float64
				}
			}
		}
		Expect(yaml.Unmarshal([]byte(run(ctx, "ipam", "-o", "yaml").succeed()), &doc)).To(Succeed())
		Expect(doc.Pools[0].Shares[2].Addresses).To(BeEquivalentTo(524288))
		Expect(doc.Pools[0].Shares[2].Percent).To(Equal(50.0))
	})

	It("counts IPv6 pools without overflowing", func(ctx SpecContext) {
		cluster.Pool(ctx, "six", "fd00:10::/64", 120, 120, nil)
		out := run(ctx, "ipam").succeed()
		Expect(out).To(ContainSubstring("pool six fd00:10::/64: 18446744073709551616 IPs"))
		Expect(out).To(MatchRegexp(`\(free\)\s+18446744073709551616 IPs\s+100.0% of total`))
	})

	It("tells versions", func(ctx SpecContext) {
		Expect(run(ctx, "version").succeed()).To(And(ContainSubstring("client v0.0.0-test"), ContainSubstring("agents v0.1.0: 3")))
		Expect(run(ctx, "version", "--client", "-o", "jsonpath={.client}").succeed()).To(Equal("v0.0.0-test"))
	})

	It("completes peers' names from the cluster, through kubectl too", func(ctx SpecContext) {
		out := run(ctx, "__complete", "rmpeer", "").succeed()
		Expect(out).To(ContainSubstring("host1\tActive, 262144 addresses"))
		Expect(run(ctx, "__complete", "rmpeer", "host1", "--heir", "").succeed()).To(And(ContainSubstring("host2"), Not(ContainSubstring("host1\t"))))
		Expect(run(ctx, "__complete", "cancel", "").succeed()).NotTo(ContainSubstring("host"))
		Expect(run(ctx, "__complete", "check", "-o", "").succeed()).To(ContainSubstring("json"))

		script := filepath.Join(cluster.Bin, "kubectl_complete-selvage")
		Expect(os.WriteFile(script, []byte(run(ctx, "completion", "kubectl").succeed()), 0o755)).To(Succeed())
		cmd, stdout, _ := command(ctx, cluster.Plane.Kubeconfig)
		cmd.Args = []string{cmd.Path, "__complete", "selvage", "rmpeer", ""}
		Expect(cmd.Run()).To(Succeed())
		Expect(stdout.String()).To(ContainSubstring("host3"))
		for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
			Expect(run(ctx, "completion", shell).succeed()).To(ContainSubstring("kubectl-selvage"))
		}
	})

	It("has help with examples for each command", func(ctx SpecContext) {
		for _, name := range []string{"status", "peers", "ipam", "map", "rmpeer", "cancel", "reset", "check", "doctor", "support-bundle", "version", "completion"} {
			out := run(ctx, name, "--help").succeed()
			Expect(out).To(ContainSubstring("Examples:"), name)
			Expect(out).To(ContainSubstring("kubectl selvage "+name), name)
		}
		Expect(strings.Count(run(ctx).succeed(), "kubectl selvage")).To(BeNumerically(">", 3))
	})
})
