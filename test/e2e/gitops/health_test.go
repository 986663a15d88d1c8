// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"strings"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// health is what Argo CD would say of an object now.
func (s *stage) health(kind, name string) (status, message string) {
	s.Helper()
	scripts, err := healthScripts()
	s.must(err)
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	s.must(cluster.Admin.Get(s.ctx(), client.ObjectKey{Name: name}, o))
	status, message, err = judge(scripts[kind], o)
	s.must(err)
	return status, message
}

// An heir that nobody is: only a person can move that on, and both engines say
// so, with the controller's words.
func TestStalled(t *testing.T) {
	s := newStage(t)
	f := s.flux()
	_, err := f.reconcile(reverted())
	s.must(err)
	before, ranges := s.peer(host3), s.owned(host3)
	host3.Down()
	// What is added makes it another generation, which is to be looked at anew.
	for _, spec := range []string{"heir: nobody", "heir: nobody, assertDown: true"} {
		_, err = f.reconcile(declared().edited("network/host3.yaml", "heir: host1", spec))
		if err == nil || !strings.Contains(err.Error(), "failed early due to stalled resources: [PeerRemoval/host3 status: 'Failed'") {
			t.Errorf("Flux waits for what never comes: %v", err)
		}
	}
	if status, message := s.health("PeerRemoval", "host3"); status != "Degraded" || !strings.Contains(message, "nobody") {
		t.Errorf("Argo CD says %s: %s", status, message)
	}
	_, err = f.reconcile(reverted())
	s.must(err)
	s.awaitNoRemoval()
	host3.Up()
	await.Until(s, "host3 to serve again", func() error { return s.serves(host3) })
	s.unharmed(host3, before, ranges)
}

// agree is what kstatus calls each of Argo CD's words.
var agree = map[string]kstatus.Status{
	"Healthy": kstatus.CurrentStatus, "Progressing": kstatus.InProgressStatus, "Degraded": kstatus.FailedStatus,
}

// Through a removal that stalls, one that is cancelled, and one that ends, Argo
// CD's script says of every version of every object what kstatus says of it.
func TestHealth(t *testing.T) {
	TestStalled(t)
	s := newStage(t)
	f := s.flux()
	host3.Down()
	_, err := f.reconcile(declared())
	s.must(err)
	_, err = f.reconcile(declared().edited("network/host3.yaml", "heir: host1", "heir: host1, assertDown: true"))
	s.must(err)
	host3.Up()
	_, err = f.reconcile(reverted())
	s.must(err)
	await.Until(s, "host3 to join anew", func() error { return s.serves(host3) })

	scripts, err := healthScripts()
	s.must(err)
	for kind, want := range map[string][]string{
		"PeerRemoval": {"Healthy", "Progressing", "Degraded"}, "Peer": {"Healthy", "Progressing"}, "AddressPool": {"Healthy", "Progressing"},
	} {
		said := map[string]int{}
		for _, o := range seen.all(kind) {
			if o.GetDeletionTimestamp() != nil {
				continue // Argo CD's engine asks no script: it is "Pending deletion"
			}
			status, message, err := judge(scripts[kind], o)
			s.must(err)
			k, err := kstatus.Compute(o)
			s.must(err)
			if agree[status] != k.Status {
				t.Errorf("Argo CD says %s (%s), and kstatus %s (%s) of %v", status, message, k.Status, k.Message, o.Object)
			}
			said[status]++
		}
		t.Logf("%s: %v", kind, said)
		for _, word := range want {
			if said[word] == 0 {
				t.Errorf("no %s was ever %s: %v", kind, word, said)
			}
		}
	}
	// An AddressRange has no script, and is Current from the first.
	for _, o := range seen.all("AddressRange") {
		if k, err := kstatus.Compute(o); err != nil || k.Status != kstatus.CurrentStatus && o.GetDeletionTimestamp() == nil {
			t.Errorf("%s is %v (%v)", o.GetName(), k, err)
		}
	}
}

// The page's command puts the scripts beside what Argo CD's ConfigMap has.
func TestHealth_Installed(t *testing.T) {
	s := newStage(t)
	source, err := controlplane.SourceDir()
	s.must(err)
	s.must(cluster.Admin.Create(s.ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argocd"}}))
	s.must(cluster.Admin.Create(s.ctx(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: "argocd-cm"}, Data: map[string]string{"url": "https://argocd.example.com"},
	}))
	_, command, found := strings.Cut(page["$"], "kubectl -n argocd patch ")
	if !found {
		t.Fatal("the page does not say how to install the scripts")
	}
	command, _, _ = strings.Cut(command, "\n")
	args := strings.Fields(strings.ReplaceAll(command, "config/argocd", source+"/config/argocd"))
	if out, err := kubectl(s.ctx(), "", append([]string{"-n", "argocd", "patch"}, args...)...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	now := &corev1.ConfigMap{}
	s.must(cluster.Admin.Get(s.ctx(), client.ObjectKey{Namespace: "argocd", Name: "argocd-cm"}, now))
	scripts, err := healthScripts()
	s.must(err)
	if len(scripts) != 3 || len(now.Data) != 4 || now.Data["url"] == "" {
		t.Errorf("it has %v", now.Data)
	}
	for kind, script := range scripts {
		if now.Data[healthKey+kind] != script {
			t.Errorf("the script of %s is %q", kind, now.Data[healthKey+kind])
		}
	}
}
