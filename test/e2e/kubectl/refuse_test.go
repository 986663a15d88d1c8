// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

// user makes a person who may do what the rules say.
func user(ctx context.Context, name string, rules ...rbacv1.PolicyRule) string {
	GinkgoHelper()
	Expect(cluster.Admin.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})).To(Succeed())
	return userWith(ctx, name, name)
}

// userWith makes a person who has that ClusterRole and no other.
func userWith(ctx context.Context, name, role string) string {
	GinkgoHelper()
	path, _, err := cluster.Plane.UserFor(name)
	Expect(err).NotTo(HaveOccurred())
	Expect(cluster.Admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
	})).To(Succeed())
	return path
}

func read(group string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: []string{"get", "list"}}
}

var _ = Describe("with less than everything", func() {
	It("shows what may be seen, and says what may not", func(ctx SpecContext) {
		setStage(ctx)
		viewer := user(ctx, "viewer", read("net.selvage.dev", "peers", "addressranges", "addresspools", "peerremovals"))
		var a answer
		Eventually(func() int { a = runAs(ctx, viewer, "status"); return a.code }).WithTimeout(patience).Should(Equal(0))
		Expect(a.out).To(And(ContainSubstring("3 peers: 3 Active"), ContainSubstring("! not shown: leases"), ContainSubstring("forbidden")))
		Expect(runAs(ctx, viewer, "ipam").succeed()).To(ContainSubstring("524288 IPs"))
		runAs(ctx, viewer, "rmpeer", "host3").fail(1, "forbidden", "selvage-edit")
		runAs(ctx, viewer, "check").fail(1, "the audit is not complete", "leases")
	})

	It("checks ownership without the right to see pods, and says so", func(ctx SpecContext) {
		setStage(ctx)
		auditor := user(ctx, "auditor", read("net.selvage.dev", "peers", "addressranges", "addresspools", "peerremovals"), read("coordination.k8s.io", "leases"))
		var a answer
		Eventually(func() int { a = runAs(ctx, auditor, "check"); return a.code }).WithTimeout(patience).Should(Equal(0))
		Expect(a.out).To(And(ContainSubstring("OneHolder   not checked: for want of pods"), ContainSubstring("Disjoint    holds"),
			ContainSubstring("! pods could not be read"), Not(ContainSubstring("all invariants hold"))))
	})

	It("shows everything of Selvage's to whoever has the role selvage-view", func(ctx SpecContext) {
		setStage(ctx)
		onlooker := userWith(ctx, "onlooker", "selvage-view")
		var a answer
		Eventually(func() string { a = runAs(ctx, onlooker, "status"); return a.out }).WithTimeout(patience).Should(ContainSubstring("3 peers: 3 Active"))
		Expect(a.succeed()).To(And(ContainSubstring("controller: controller-0 leads"), Not(ContainSubstring("not shown")), Not(ContainSubstring("forbidden"))))
		Expect(runAs(ctx, onlooker, "peers", "-o", "wide", "--no-headers").succeed()).To(MatchRegexp(`host1 .*held\s+v0.1.0`))
		Expect(runAs(ctx, onlooker, "ipam").succeed()).To(And(ContainSubstring("524288 IPs"), Not(ContainSubstring("forbidden"))))
		Expect(runAs(ctx, onlooker, "check").succeed()).To(And(ContainSubstring("Fenced      holds"), ContainSubstring("! pods could not be read")))
		runAs(ctx, onlooker, "rmpeer", "host3").fail(1, "forbidden", "selvage-edit")

		// And what a removal waits for.
		run(ctx, "rmpeer", "host3", "--heir", "host1").succeed()
		cluster.Accept(ctx, "host3", "waiting for its lease")
		cluster.Transfer(ctx, "host3", "host1")
		cluster.CutOff(ctx, "host1", "host3")
		Expect(runAs(ctx, onlooker, "status").succeed()).To(ContainSubstring("lease sealed; cut off by 1 of 2 peers; waiting for host2"))
	})

	It("says so if nothing may be seen", func(ctx SpecContext) {
		nobody := user(ctx, "nobody")
		for _, args := range [][]string{{"status"}, {"peers"}, {"ipam"}, {"check"}, {"rmpeer", "host3"}, {"cancel", "host3"}, {"reset", "host3", "-y"}} {
			runAs(ctx, nobody, args...).fail(1, "forbidden", "selvage-view")
		}
		Expect(runAs(ctx, nobody, "version").out).To(ContainSubstring("client v0.0.0-test"))
	})

	It("says so if the API server does not know the caller", func(ctx SpecContext) {
		config, err := clientcmd.LoadFromFile(cluster.Plane.Kubeconfig)
		Expect(err).NotTo(HaveOccurred())
		for name := range config.AuthInfos {
			config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: "nonsense"}
		}
		path := filepath.Join(GinkgoT().TempDir(), "stranger")
		Expect(clientcmd.WriteToFile(*config, path)).To(Succeed())
		runAs(ctx, path, "peers").fail(1, "the API server does not know you")
	})

	It("says so if there is no cluster", func(ctx SpecContext) {
		dir := GinkgoT().TempDir()
		runAs(ctx, filepath.Join(dir, "absent"), "status").fail(1, "no cluster is configured")
		empty := filepath.Join(dir, "empty")
		Expect(os.WriteFile(empty, nil, 0o600)).To(Succeed())
		runAs(ctx, empty, "status").fail(1, "no cluster is configured", "--kubeconfig")
		runAs(ctx, cluster.Plane.Kubeconfig, "status", "--server", "https://127.0.0.1:9").fail(1, "https://127.0.0.1:9 does not answer", "right context")
		runAs(ctx, cluster.Plane.Kubeconfig, "status", "--context", "nowhere").fail(1, `"nowhere" does not exist`, "get-contexts")
	})

	It("says so if Selvage is not installed", func(ctx SpecContext) {
		bare, err := controlplane.Start(ctx, controlplane.Options{Out: GinkgoWriter})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(bare.Stop)
		for _, args := range [][]string{{"status"}, {"peers"}, {"ipam"}, {"check"}, {"rmpeer", "host3"}, {"cancel", "host3"}} {
			runAs(ctx, bare.Kubeconfig, args...).fail(1, "this cluster has no Selvage", "kubectl apply -k config/default")
		}
	})

	It("says so if Selvage is installed in another namespace", func(ctx SpecContext) {
		setStage(ctx)
		Expect(run(ctx, "status", "-n", "elsewhere").succeed()).To(ContainSubstring("no leader lease in namespace elsewhere (is Selvage installed in another one? -n)"))
	})

	It("suggests the word that was meant", func(ctx SpecContext) {
		run(ctx, "rmper", "host3").fail(2, `unknown command "rmper"`, `did you mean "rmpeer"`)
		run(ctx, "status", "ipm").fail(2, "takes no arguments")
	})
})
