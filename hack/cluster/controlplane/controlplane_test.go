// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func start(t *testing.T, options Options) *ControlPlane {
	t.Helper()
	options.Out = testWriter{t}
	cp, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	return cp
}

func clients(t *testing.T, cp *ControlPlane) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAgentTokensNameTheirNode(t *testing.T) {
	cp := start(t, Options{})
	if _, err := cp.NewNode(t.Context(), "host1", netip.MustParseAddr("192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	path, pod, err := cp.NewAgent(t.Context(), "selvage-system", "host1", netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig %s: %v, %v, want a file of mode 0600", path, info, err)
	}
	_, config, err := cp.KubeconfigFor(t.Context(), "selvage-system", AgentAccount, pod)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	me, err := agent.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := me.Status.UserInfo.Username, "system:serviceaccount:selvage-system:selvage-agent"; got != want {
		t.Errorf("user name %q, want %q", got, want)
	}
	if got := me.Status.UserInfo.Extra["authentication.kubernetes.io/node-name"]; len(got) != 1 || got[0] != "host1" {
		t.Errorf("node name %v, want host1", got)
	}
	if _, err := agent.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: got %v, want Forbidden by RBAC", err)
	}
}

func TestOutage(t *testing.T) {
	dir := t.TempDir()
	cp := start(t, Options{Dir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := cp.NewNode(ctx, "host1"); err != nil {
		t.Fatal(err)
	}
	cp.APIServer.Kill()
	if _, err := clients(t, cp).CoreV1().Nodes().Get(ctx, "host1", metav1.GetOptions{}); err == nil {
		t.Error("it answers although it was killed")
	}
	if err := cp.APIServer.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := clients(t, cp).CoreV1().Nodes().Get(ctx, "host1", metav1.GetOptions{}); err != nil {
		t.Errorf("the node is lost: %v", err)
	}
	cp.Stop()
	if cp.Etcd.process.Running() || cp.APIServer.process.Running() {
		t.Error("something still runs after Stop")
	}
	if _, err := os.Stat(filepath.Join(dir, "etcd")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("data is left over: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kube-apiserver.log")); err != nil {
		t.Errorf("logs of a folder that was given are kept: %v", err)
	}
}

// A small installation of its own: a definition, an object of it and a policy.
const installation = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: threads.example.dev}
spec:
  group: example.dev
  scope: Cluster
  names: {kind: Thread, listKind: ThreadList, plural: threads, singular: thread}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {colour: {type: string}}}}}}
---
apiVersion: example.dev/v1
kind: Thread
metadata: {name: warp}
spec: {colour: red}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: threads-stay}
spec: {policyName: threads-stay, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: threads-stay}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [example.dev], apiVersions: ["*"], resources: [threads], operations: [DELETE]}]}
  validations: [{expression: "false", message: "pulling a thread out unravels the fabric"}]
`

func TestInstall(t *testing.T) {
	cp := start(t, Options{ControllerManager: true, Controllers: []string{"garbage-collector-controller"}})
	dir := t.TempDir()
	for name, text := range map[string]string{"all.yaml": installation, "kustomization.yaml": "resources: [all.yaml]\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 { // an installation repeated changes nothing
		if err := cp.Install(t.Context(), dir); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	c, err := client.New(cp.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	thread := &unstructured.Unstructured{}
	thread.SetAPIVersion("example.dev/v1")
	thread.SetKind("Thread")
	thread.SetName("warp")
	if err := c.Delete(t.Context(), thread); err == nil || !strings.Contains(err.Error(), "unravels") {
		t.Errorf("deleting: got %v, want the policy's refusal", err)
	}
	policies, err := clients(t, cp).AdmissionregistrationV1().ValidatingAdmissionPolicies().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(policies.Items) != 1 {
		t.Errorf("policies after installing: %v, %v, want that one alone", policies.Items, err)
	}
	if err := cp.Install(t.Context(), filepath.Join(dir, "absent")); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a folder that does not exist: got %v, want an error that names it", err)
	}
}

func TestVersionsAreThoseThatAreBuilt(t *testing.T) {
	root, err := SourceDir()
	if err != nil {
		t.Fatal(err)
	}
	for module, line := range map[string]string{
		"kubernetes":        "require k8s.io/kubernetes " + KubernetesVersion + "\n",
		"kubernetes-oldest": "require k8s.io/kubernetes " + OldestKubernetesVersion + "\n",
		"etcd":              "require go.etcd.io/etcd/server/v3 " + EtcdVersion + "\n",
	} {
		data, err := os.ReadFile(filepath.Join(root, "hack/cluster/binaries", module, "go.mod"))
		if err != nil || !strings.Contains(string(data), line) {
			t.Errorf("hack/cluster/binaries/%s/go.mod does not say %q (%v)", module, line, err)
		}
	}
}

// TestSupportedIsWhatIsTested: pages and chart name the versions that tests run.
func TestSupportedIsWhatIsTested(t *testing.T) {
	root, err := SourceDir()
	if err != nil {
		t.Fatal(err)
	}
	minor := func(version string) string {
		return strings.TrimPrefix(version[:strings.LastIndexByte(version, '.')], "v")
	}
	low, high := minor(OldestKubernetesVersion), minor(KubernetesVersion)
	for path, words := range map[string][]string{
		"docs/install.md":           {"Kubernetes " + low + " to " + high},
		"docs/upgrade.md":           {"**" + low + " to " + high + "**", OldestKubernetesVersion, KubernetesVersion},
		"charts/selvage/Chart.yaml": {`kubeVersion: ">=` + low + `.0-0"`},
	} {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if !strings.Contains(string(text), word) {
				t.Errorf("%s does not say %q", path, word)
			}
		}
	}
}

// TestWhichKubernetes: the environment chooses, and nodes are of the newest.
func TestWhichKubernetes(t *testing.T) {
	for word, want := range map[string]kubernetesRelease{"": newest, "newest": newest, "oldest": oldest} {
		t.Setenv(KubernetesVariable, word)
		if got, err := chosenKubernetes(); got != want || err != nil {
			t.Errorf("%q: %v, %v", word, got, err)
		}
	}
	t.Setenv(KubernetesVariable, "oldest")
	if _, err := NodeBinaries(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), KubernetesVersion) {
		t.Errorf("nodes of the oldest: %v", err)
	}
	t.Setenv(KubernetesVariable, "v1.30.0")
	if _, err := Binaries(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), OldestKubernetesVersion) {
		t.Errorf("another: %v", err)
	}
}

func TestStrangersAreNotTakenForOurs(t *testing.T) {
	dir := t.TempDir()
	fake := filepath.Join(dir, "kubectl")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho Client Version: v1.2.3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	kubectl := programs(newest, &Paths{})[3]
	if err := checkVersion(t.Context(), kubectl, fake); err == nil || !strings.Contains(err.Error(), "v1.2.3") {
		t.Errorf("an old kubectl: got %v, want an error that names its version", err)
	}
	out := &strings.Builder{}
	f := &finder{out: out, assets: dir}
	path, err := f.find(t.Context(), kubectl)
	if err != nil || path != fake {
		t.Errorf("KUBEBUILDER_ASSETS: got %s, %v, want %s", path, err, fake)
	}
	if !strings.Contains(out.String(), "v1.2.3") {
		t.Errorf("the user's old kubectl is used in silence: %q", out)
	}
}
