// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lifecycle

import (
	"context"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

// traces are where an installation could leave something on a node, and what
// of Selvage would stand there. kube-proxy's rules name the pods' addresses, too.
var traces = map[string][]string{
	"ip -o link":                     {"selvage", ": sv"},
	"ip route show table all":        {"selvage", "10.32."},
	"ip -6 route show table all":     {"selvage", "fd00:10:32:"},
	"ip neighbour show":              {"selvage", "10.32.", "fd00:10:32:"},
	"ip rule":                        {"selvage", "10.32."},
	"ip -6 rule":                     {"selvage", "fd00:10:32:"},
	"nft list ruleset":               {"selvage"},
	"find /etc/cni /opt/cni":         {"selvage"},
	"find /var/lib/selvage -type f":  {"selvage"},
	"find /run/selvage -not -type d": {"selvage"},
}

// look is what a node shows of Selvage.
func look(ctx context.Context, n *nodes.Node) (found []string) {
	GinkgoHelper()
	for command, ours := range traces {
		words := strings.Fields(command)
		out, err := n.Output(ctx, words[0], words[1:]...)
		Expect(err).NotTo(HaveOccurred(), command)
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			is := slices.ContainsFunc(ours, func(s string) bool { return strings.Contains(line, s) })
			if is && line != "/var/lib/selvage/lock" { // empty, and may be held by a successor
				found = append(found, line)
			}
		}
	}
	return found
}

var _ = Describe("an installation", Ordered, func() {
	var a, b *corev1.Pod
	BeforeAll(func(ctx context.Context) {
		a, b = stage.Pod("first", "node1"), stage.Pod("second", "node2")
		Expect(s.Start(ctx, a, b)).To(Succeed())
	})

	It("that is deleted impatiently takes nothing along, and goes on when it is applied again", func(ctx context.Context) {
		const identities = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,OWNER:.spec.owner.uid,EPOCH:.spec.epoch"
		before := must(ctx, "get", "peers,addressranges", "-o", identities)
		var flows []stage.Flow
		for _, f := range families {
			flow, err := s.StartFlow(ctx, "flow-"+strings.ToLower(string(f.name)), "node1", "udp", f.answers(b))
			Expect(err).NotTo(HaveOccurred())
			flows = append(flows, flow)
		}
		out, err := s.Kubectl(ctx, "delete", "-k", config+"default", limit)
		Expect(err).To(HaveOccurred(), "the kinds are to stay")
		Expect(out + err.Error()).To(And(ContainSubstring("see docs/install.md, Uninstall"), Not(ContainSubstring("timed out"))))
		must(ctx, "wait", "--for=delete", "namespace/"+stage.Namespace, limit)
		for _, f := range families {
			_, _, err = s.Ask(ctx, a, "tcp", f.answers(b))
			Expect(err).NotTo(HaveOccurred(), "pods keep their network without agents")
		}
		must(ctx, "apply", "-k", config+"default")
		must(ctx, "-n", stage.Namespace, "rollout", "status", "daemonset/selvage-agent", limit)
		Expect(must(ctx, "get", "peers,addressranges", "-o", identities)).To(Equal(before))
		for _, flow := range flows {
			report, err := s.EndFlow(ctx, flow)
			Expect(err).NotTo(HaveOccurred())
			Expect(report.Sent).To(BeNumerically(">", 0))
			Expect(report.Sent-report.Answered).To(BeZero(), "%s: %+v", flow.Name, report)
		}
		said, err := s.Selvage(ctx, "check")
		Expect(err).NotTo(HaveOccurred(), said)
	}, NodeTimeout(5*time.Minute))

	It("turns forwarding on where it is off, without a privileged container", func(ctx context.Context) {
		forwarding := []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"}
		n, err := s.Node("node1")
		Expect(err).NotTo(HaveOccurred())
		for _, file := range forwarding {
			_, err = n.Output(ctx, "sh", "-c", "echo 0 > "+file)
			Expect(err).NotTo(HaveOccurred())
		}
		must(ctx, "-n", stage.Namespace, "rollout", "restart", "daemonset/selvage-agent")
		must(ctx, "-n", stage.Namespace, "rollout", "status", "daemonset/selvage-agent", limit)
		for _, file := range forwarding {
			Eventually(func() (string, error) { return n.Output(ctx, "cat", file) }).Should(Equal("1\n"), file)
		}
		for _, f := range families {
			_, _, err = s.Ask(ctx, a, "tcp", f.answers(b))
			Expect(err).NotTo(HaveOccurred())
		}
	}, NodeTimeout(3*time.Minute))

	It("is shown on a node as long as it is there", func(ctx context.Context) {
		// Or else the next test would find nothing whatever is there.
		for _, n := range s.Nodes() {
			Expect(look(ctx, n)).To(ContainElements(
				ContainSubstring("selvage0"), ContainSubstring("10.32."), ContainSubstring("fd00:10:32:"), ContainSubstring("table inet selvage"),
				"/etc/cni/net.d/10-selvage.conflist", "/opt/cni/bin/selvage", "/run/selvage/cni.sock", "/var/lib/selvage/identity"))
		}
	})

	It("is uninstalled, with its pods still there, and leaves the nodes clean", func(ctx context.Context) {
		must(ctx, "-n", stage.Namespace, "patch", "daemonset", "selvage-agent", "--patch-file", config+"uninstall/leave.yaml")
		must(ctx, "-n", stage.Namespace, "rollout", "status", "daemonset/selvage-agent", limit)
		Expect(must(ctx, "get", "peers", "-o", "name")).To(BeEmpty())
		must(ctx, "delete", "pods", "--all-namespaces", "--field-selector", "spec.hostNetwork=false", limit)
		must(ctx, "wait", "--for=delete", "addressranges", "--all", limit)
		must(ctx, "delete", "-k", config+pool, limit)
		must(ctx, "delete", "peerremovals", "--all", limit)
		must(ctx, "delete", "-k", config+"default", limit)
		must(ctx, "delete", "-k", config+"crd-guard", limit)
		for _, kind := range []string{"crd", "namespaces", "clusterroles", "clusterrolebindings", "validatingadmissionpolicies"} {
			Expect(must(ctx, "get", kind, "-o", "name")).NotTo(ContainSubstring("selvage"))
		}
		for _, n := range s.Nodes() {
			// The namespace is gone, so its pods are, and they have cleaned up.
			Expect(look(ctx, n)).To(BeEmpty(), n.Name)
		}
	}, NodeTimeout(5*time.Minute))

	It("is installed anew", func(ctx context.Context) {
		install(ctx)
		again := stage.Pod("again", "node3")
		Expect(s.Start(ctx, again)).To(Succeed())
		Expect(s.Delete(ctx, again)).To(Succeed())
	}, NodeTimeout(5*time.Minute))
})

// install is what docs/install.md says.
func install(ctx context.Context) {
	GinkgoHelper()
	must(ctx, "apply", "-k", config+"default")
	must(ctx, "wait", "--for=condition=Established", "crd/addresspools.net.selvage.dev", limit)
	must(ctx, "apply", "-k", config+"crd-guard")
	must(ctx, "apply", "-k", config+pool)
	must(ctx, "-n", stage.Namespace, "rollout", "status", "daemonset/selvage-agent", limit)
	must(ctx, "wait", "--for=condition=Ready", "nodes", "--all", limit)
}
