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
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// diagnosed is what doctor -o json says.
type diagnosed struct {
	OK        bool
	Reports   []diagnosis.Report
	Unreached map[string]string
}

func diagnosedFrom(a answer) (d diagnosed) {
	GinkgoHelper()
	Expect(json.Unmarshal([]byte(a.out), &d)).To(Succeed())
	return d
}

var _ = Describe("doctor", func() {
	BeforeEach(setStage)

	It("finds what is wrong in the cluster, and says what to do", func(ctx SpecContext) {
		// As installed, kinds and policies are those of this program.
		d := diagnosedFrom(run(ctx, "doctor", "-o", "json"))
		verdicts := map[string]diagnosis.Verdict{}
		for _, r := range d.Reports[0].Results {
			verdicts[r.Check] = r.Verdict
		}
		for _, check := range []string{"server", "kinds", "controller", "versions", "peers", "pools", "removals"} {
			Expect(verdicts[check]).To(Equal(diagnosis.OK), check)
		}
		for _, f := range d.Reports[0].Findings {
			Expect(f.Remedy).NotTo(BeEmpty())
			if f.Check == "policies" {
				Expect(f.Message).To(ContainSubstring("not installed"))
				Expect(f.Object).To(HaveSuffix("-crd-stays"), "config/crd-guard is not installed here, all else is")
			}
		}

		cluster.Lease(ctx, "host2", v1alpha1.SealedHolder, "", "")
		policy := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: named("peer-single-writer")}
		Expect(cluster.Admin.Delete(ctx, policy)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { cluster.Install(ctx) })
		a := run(ctx, "doctor")
		a.fail(3, "something is wrong")
		Expect(a.out).To(ContainSubstring("error: peer/host2: its lease has run out and is sealed"))
		Expect(a.out).To(ContainSubstring("error: validatingadmissionpolicy/peer-single-writer: no binding has it deny"))
		Expect(a.out).To(ContainSubstring("      do: kubectl apply -k config/default"))
		a = run(ctx, "doctor", "host2")
		a.fail(3, "something is wrong")
		Expect(a.out).To(And(ContainSubstring("node/host2 could not be looked at"), ContainSubstring("peer/host2"), Not(ContainSubstring("peer-single-writer"))))
	})

	It("looks at a node, through its agent's pod", func(ctx SpecContext) {
		cluster.Build(ctx, "selvage-agent")
		conf, dir := GinkgoT().TempDir(), GinkgoT().TempDir()
		Expect(os.WriteFile(filepath.Join(conf, "05-other.conflist"), []byte(`{"name": "other", "plugins": [{"type": "bridge"}]}`), 0o644)).To(Succeed())
		nodeWithKubelet(ctx, "local", &kubelet{}, "--node-name=local", "--run-dir="+dir, "--cni-conf-dir="+conf, "--cni-bin-dir="+dir, "--vxlan-port=8472")
		a := run(ctx, "doctor", "local", "-o", "json")
		a.fail(3, "something is wrong")
		d := diagnosedFrom(a)
		Expect(d.Unreached).To(BeEmpty())
		Expect(d.Reports).To(HaveLen(2))
		node := d.Reports[1]
		Expect(node.Subject).To(Equal("node/local"))
		Expect(node.Version).To(Equal("v0.0.0-test"))
		Expect(node.Traits.Port).To(Equal(8472), "the flags of the agent in its pod")
		Expect(node.Findings).To(ContainElement(And(HaveField("Check", "cni"), HaveField("Severity", diagnosis.Error))))
		Expect(node.Findings).To(ContainElement(HaveField("Message", ContainSubstring("no agent answers here"))))

		// With the rights of docs/doctor.md, and not without.
		as := []string{"doctor", "local", "-o", "json", "--as", "oncall@example.com"}
		Expect(run(ctx, append(as, "--as-group", "system:authenticated")...).code).To(Equal(1), "who may nothing")
		for _, line := range []string{
			// The role view is these two; here nobody aggregates them.
			"create clusterrolebinding oncall --clusterrole=selvage-view --user=oncall@example.com",
			"create clusterrolebinding oncall2 --clusterrole=system:aggregate-to-view --user=oncall@example.com",
			"-n selvage-system create role selvage-doctor --verb=create --resource=pods/exec",
			"-n selvage-system create rolebinding selvage-doctor --role=selvage-doctor --user=oncall@example.com",
			"create clusterrole selvage-doctor --verb=get,list --resource=nodes,customresourcedefinitions.apiextensions.k8s.io," +
				"validatingadmissionpolicies.admissionregistration.k8s.io,validatingadmissionpolicybindings.admissionregistration.k8s.io",
			"create clusterrolebinding selvage-doctor --clusterrole=selvage-doctor --user=oncall@example.com",
		} {
			cmd, _, _ := command(ctx, cluster.Plane.Kubeconfig)
			cmd.Args = append([]string{cmd.Path}, strings.Fields(line)...)
			Expect(cmd.Run()).To(Succeed(), line)
		}
		Eventually(func(g Gomega) {
			var d diagnosed
			g.Expect(json.Unmarshal([]byte(run(ctx, as...).out), &d)).To(Succeed())
			g.Expect(d.Unreached).To(BeEmpty())
			for _, r := range d.Reports[0].Results {
				g.Expect(r.Verdict).NotTo(Equal(diagnosis.NotChecked), r.Check+" "+r.Looked)
			}
		}).WithTimeout(patience).Should(Succeed())
		Expect(run(ctx, "doctor", "--all-nodes").out).To(ContainSubstring("error: node/local: no agent answers here"))
	})
})
