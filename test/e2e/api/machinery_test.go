// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The cluster's own machinery writes to every kind: it must neither be stopped
// by the policies nor get past what they are for.
var _ = Describe("the cluster's machinery", func() {
	BeforeEach(func(ctx SpecContext) { setTheScene(ctx) })

	foreground := client.PropagationPolicy(metav1.DeletePropagationForeground)
	gone := func(ctx context.Context, kind, name string) {
		GinkgoHelper()
		Eventually(func() error {
			return who.admin.Get(ctx, client.ObjectKey{Name: name}, empty(kind, name))
		}).WithTimeout(patience).Should(Satisfy(apierrors.IsNotFound))
	}
	finalizers := func(ctx context.Context, kind, name string) func() []string {
		return func() []string { return get(ctx, who.admin, kind, name).GetFinalizers() }
	}

	It("finishes a foreground deletion of a claim", func(ctx SpecContext) {
		Expect(who.controller.Delete(ctx, empty(kindRange, "10.35.0.0"), foreground)).To(Succeed())
		gone(ctx, kindRange, "10.35.0.0")
	})

	It("finishes a foreground deletion of a PeerRemoval, which its finalizer holds", func(ctx SpecContext) {
		Expect(who.pipeline.Delete(ctx, empty(kindRemoval, "host3"), foreground)).To(Succeed())
		Eventually(finalizers(ctx, kindRemoval, "host3")).WithTimeout(patience).Should(Equal([]string{"net.selvage.dev/removal"}))
		Expect(patch(ctx, who.controller, kindRemoval, "host3", noFinalizers)).To(Succeed())
		gone(ctx, kindRemoval, "host3")
	})

	It("finishes a foreground deletion of a pool, which its finalizer holds", func(ctx SpecContext) {
		Expect(who.pipeline.Delete(ctx, empty(kindPool, "default"), foreground)).To(Succeed())
		Eventually(finalizers(ctx, kindPool, "default")).WithTimeout(patience).Should(Equal([]string{"net.selvage.dev/pool"}))
		Expect(patch(ctx, who.controller, kindPool, "default", noFinalizers)).To(Succeed())
		gone(ctx, kindPool, "default")
	})

	It("finishes a foreground deletion of a Peer, which its finalizer holds", func(ctx SpecContext) {
		Expect(who.controller.Delete(ctx, empty(kindPeer, "host3"), foreground)).To(Succeed())
		Eventually(finalizers(ctx, kindPeer, "host3")).WithTimeout(patience).Should(Equal([]string{"net.selvage.dev/ownership"}))
		Expect(patchesAsPut(kindPeer, "host3", noFinalizers)(ctx, who.controller)).To(Succeed())
		gone(ctx, kindPeer, "host3")
	})

	It("collects a pipeline's PeerRemoval with its owner", func(ctx SpecContext) {
		owner := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "an-application"}}
		Expect(who.admin.Create(ctx, owner)).To(Succeed())
		removal := parse(kindRemoval, "host9", `{}`)
		removal.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: owner.Name, UID: owner.UID}})
		Expect(who.pipeline.Create(ctx, removal)).To(Succeed())
		Expect(who.admin.Delete(ctx, owner)).To(Succeed())
		gone(ctx, kindRemoval, "host9")
	})

	// Such a range can only be one that was made while the policies were away.
	It("does not collect an owned range whose ownerReference points at nothing", func(ctx SpecContext) {
		away := withoutPolicy(ctx, "addressrange-no-owner-references")
		o := get(ctx, who.admin, kindRange, "10.33.0.0")
		o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: "long-gone", UID: "long-gone"}})
		Eventually(func() error {
			return who.admin.Update(ctx, glass(o))
		}).WithTimeout(patience).Should(Succeed())
		away.restore(ctx)
		DeferCleanup(func(ctx SpecContext) {
			// Or the range can no more be written, and so not be taken away.
			Expect(patch(ctx, who.admin, kindRange, "10.33.0.0", `metadata: {ownerReferences: null}`)).To(Succeed())
		})

		Eventually(func() bool {
			return audited(func(e *auditv1.Event) bool {
				return e.Verb == "delete" && e.ObjectRef != nil && e.ObjectRef.Name == "10.33.0.0" &&
					strings.Contains(e.UserAgent, "generic-garbage-collector") && e.ResponseStatus != nil && e.ResponseStatus.Code == 403
			})
		}).WithTimeout(patience).Should(BeTrue(), "the garbage collector is to try")
		Expect(get(ctx, who.admin, kindRange, "10.33.0.0").GetDeletionTimestamp()).To(BeNil())
	})

	// The migrator waits until the garbage collector has seen something newer of
	// the kind than the migration: each look at it makes such a write, to
	// an object of its own.
	for _, m := range []struct{ plural, kind, nudged string }{
		{"addresspools", kindPool, "another"}, {"addressranges", kindRange, "10.35.0.0"},
		{"peers", kindPeer, "host1"}, {"peerremovals", kindRemoval, "host9"},
	} {
		It("migrates the storage of "+m.plural, func(ctx SpecContext) { migrates(ctx, m.plural, m.kind, m.nudged) }, Label("migrator"))
		It("lets all "+m.plural+" be written anew as they are", func(ctx SpecContext) { rewrites(ctx, m.plural) })
	}

	It("deletes no range of a collection that somebody deletes", func(ctx SpecContext) {
		Expect(deletesAll(kindRange)(ctx, who.admin)).To(Satisfy(apierrors.IsForbidden))
		for _, name := range []string{"10.32.0.0", "10.33.0.0", "10.34.0.0", "10.35.0.0"} {
			Expect(get(ctx, who.admin, kindRange, name).GetDeletionTimestamp()).To(BeNil(), name)
		}
	})

	It("records who broke the glass, and why", func(ctx SpecContext) {
		do := afterGlass(kindRange, "10.33.0.0", patches(kindRange, "10.33.0.0", takeOver))
		Expect(do(ctx, who.admin)).To(Succeed())
		Eventually(func() bool {
			return audited(func(e *auditv1.Event) bool {
				return e.Annotations["addressrange-single-writer/break-glass"] == "admin: because of a test"
			})
		}).WithTimeout(patience).Should(BeTrue())
	})
})

// rewrites is a migration by hand, as docs/upgrade.md has it.
func rewrites(ctx context.Context, plural string) {
	GinkgoHelper()
	pipe := fmt.Sprintf("set -o pipefail; %[1]s get %[2]s -o json | %[1]s replace -f -", plane.Kubectl, plural)
	cmd := exec.CommandContext(ctx, "bash", "-c", pipe)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+plane.Kubeconfig)
	said, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "%s", said)
	Expect(string(said)).To(ContainSubstring(" replaced"))
}

func migrates(ctx context.Context, plural, kind, nudged string) {
	GinkgoHelper()
	if kind == kindPool || kind == kindRemoval {
		Expect(who.pipeline.Create(ctx, parse(kind, nudged, strings.Replace(defaults[kind].object, "10.32", "10.64", 1)))).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { remove(ctx, who.admin, kind, nudged) })
	}
	m := &migrationv1.StorageVersionMigration{
		ObjectMeta: metav1.ObjectMeta{Name: "migrate-" + plural},
		Spec:       migrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: "net.selvage.dev", Resource: plural}},
	}
	Expect(who.admin.Create(ctx, m)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(who.admin.Delete(ctx, m)).To(Succeed()) })
	looks := 0
	Eventually(func(g Gomega) {
		looks++
		g.Expect(patch(ctx, who.admin, kind, nudged, fmt.Sprintf(`metadata: {labels: {look: "%d"}}`, looks))).To(Succeed())
		g.Expect(who.admin.Get(ctx, client.ObjectKeyFromObject(m), m)).To(Succeed())
		var done []string
		for _, c := range m.Status.Conditions {
			if c.Status == metav1.ConditionTrue {
				done = append(done, c.Type)
			}
		}
		g.Expect(done).To(ContainElement(string(migrationv1.MigrationSucceeded)), "%+v", m.Status)
	}).WithTimeout(2 * patience).WithPolling(time.Second).Should(Succeed())
	Expect(audited(func(e *auditv1.Event) bool {
		return e.ObjectRef != nil && e.ObjectRef.Resource == plural && e.ObjectRef.Name != nudged && e.Verb == "patch" &&
			strings.Contains(e.UserAgent, "storage-version-migrator") && e.ResponseStatus != nil && e.ResponseStatus.Code == 200
	})).To(BeTrue(), "the migrator is to have written")
}

// audited says whether the API server's audit log has such an event.
func audited(is func(*auditv1.Event) bool) bool {
	GinkgoHelper()
	f, err := os.Open(filepath.Join(plane.Dir, "audit.log"))
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e := &auditv1.Event{}
		// The last line may still be on its way.
		if json.Unmarshal(lines.Bytes(), e) == nil && is(e) {
			return true
		}
	}
	Expect(lines.Err()).NotTo(HaveOccurred())
	return false
}

type absentPolicy struct {
	binding *admissionv1.ValidatingAdmissionPolicyBinding
}

// withoutPolicy takes a policy's binding away until restore, or the spec's end.
func withoutPolicy(ctx context.Context, name string) *absentPolicy {
	GinkgoHelper()
	b := &admissionv1.ValidatingAdmissionPolicyBinding{}
	Expect(who.admin.Get(ctx, client.ObjectKey{Name: name}, b)).To(Succeed())
	a := &absentPolicy{binding: &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: b.Labels, Annotations: b.Annotations}, Spec: b.Spec,
	}}
	Expect(who.admin.Delete(ctx, b)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { a.restore(ctx) })
	return a
}

// restore waits until the policy refuses again.
func (a *absentPolicy) restore(ctx context.Context) {
	GinkgoHelper()
	if a.binding == nil {
		return
	}
	Expect(who.admin.Create(ctx, a.binding)).To(Succeed())
	name := a.binding.Name
	a.binding = nil
	Eventually(func() error {
		return who.controller.Create(ctx, parse(kindRange, "10.37.0.0", ownedClaim), client.DryRunAll)
	}).WithTimeout(patience).Should(MatchError(ContainSubstring("ValidatingAdmissionPolicy '" + name + "'")))
}
