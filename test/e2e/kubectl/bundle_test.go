// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// planted is in everything that is not to be in a bundle.
const planted = "PLANTED"

// unpack reads a bundle: its files, without the folder they are in.
func unpack(path string) map[string]string {
	GinkgoHelper()
	f, err := os.Open(path)
	Expect(err).NotTo(HaveOccurred())
	defer f.Close()
	plain, err := gzip.NewReader(f)
	Expect(err).NotTo(HaveOccurred())
	all := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		Expect(err).NotTo(HaveOccurred())
		text, err := io.ReadAll(archive)
		Expect(err).NotTo(HaveOccurred())
		_, name, _ := strings.Cut(header.Name, "/")
		all[name] = string(text)
	}
}

var _ = Describe("support-bundle", func() {
	It("has what a maintainer needs, and no secret", func(ctx SpecContext) {
		setStage(ctx)
		cluster.Build(ctx, "selvage-agent")
		nodeWithKubelet(ctx, "local", &kubelet{logs: map[string]string{"agent": "" +
			"level=INFO msg=\"joined the network\" peer=local\n" +
			"level=ERROR msg=\"renewing\" header=\"Authorization: Bearer " + planted + "-token\"\n" +
			"read token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJQTEFOVEVEIn0." + planted + "\n" +
			"-----BEGIN PRIVATE KEY-----\n" + planted + "\n-----END PRIVATE KEY-----\npassword=" + planted + "\n",
		}}, "--node-name=local", "--run-dir="+GinkgoT().TempDir())
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "planted", Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/name": "selvage"}}, StringData: map[string]string{"x": planted}}
		Expect(cluster.Admin.Create(ctx, secret)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(cluster.Admin.Delete(ctx, secret)).To(Succeed()) })
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: "selvage-controller-planted", Namespace: namespace,
			Labels:      map[string]string{"app.kubernetes.io/name": "selvage", "app.kubernetes.io/component": "controller"},
			Annotations: map[string]string{"example.com/registry": planted},
		}, Spec: corev1.PodSpec{NodeName: "local", Containers: []corev1.Container{{Name: "controller", Image: "none.invalid/none", Args: []string{"--password=" + planted, "--token", planted}, Env: []corev1.EnvVar{{Name: "SOMETHING", Value: planted}}}}}}
		Expect(cluster.Admin.Create(ctx, pod)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(cluster.Admin.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		})
		Expect(cluster.Admin.Create(ctx, &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "planted", Namespace: "default"}, InvolvedObject: corev1.ObjectReference{APIVersion: "net.selvage.dev/v1alpha1", Kind: "Peer", Name: "host1"},
			Reason: "Told", Message: "its token: " + planted,
		})).To(Succeed())

		file := filepath.Join(GinkgoT().TempDir(), "bundle.tar.gz")
		a := run(ctx, "support-bundle", "-o", file, "--all-nodes")
		Expect(a.succeed()).To(Equal(file + "\n"))
		Expect(a.err).To(ContainSubstring("collecting logs of selvage-agent-local"))
		all := unpack(file)
		for name, text := range all {
			Expect(text).NotTo(ContainSubstring(planted), name)
		}
		for name, words := range map[string]string{
			"objects/peer.yaml": "instance-of-host1", "objects/addressrange.yaml": "10.44.0.0/14", "objects/addresspool.yaml": "10.32.0.0/12", "objects/lease.yaml": "peer-host1",
			"objects/event.yaml": "Told", "objects/node.yaml": "127.0.0.1", "objects/pod.yaml": "SOMETHING", "objects/daemonset.yaml": "selvage-agent", "objects/deployment.yaml": "selvage-controller",
			"objects/customresourcedefinition.yaml": "peerremovals.net.selvage.dev", "objects/validatingadmissionpolicy.yaml": "agent-writes-its-own", "objects/configmap.yaml": "conflist",
			"logs/selvage-agent-local/agent.log": "joined the network", "versions.json": "v0.0.0-test", "status.txt": "3 peers", "map.txt": "pool default", "ipam.txt": "host3",
			"check.txt": "OneHeir", "doctor.txt": "no agent answers here",
		} {
			Expect(all).To(HaveKeyWithValue(name, ContainSubstring(words)))
		}
		Expect(all).NotTo(HaveKey("errors.txt"))
		run(ctx, "support-bundle", "-o", file).fail(1, "exists already")

		// Who may not see everything gets what he may see, and is told the rest.
		partly := filepath.Join(filepath.Dir(file), "partly.tar.gz")
		run(ctx, "support-bundle", "-o", partly, "--as", "nobody@example.com").fail(1, "not all could be collected", "is forbidden")
		Expect(unpack(partly)).To(HaveKeyWithValue("errors.txt", ContainSubstring("objects/node: ")))
	})
})
