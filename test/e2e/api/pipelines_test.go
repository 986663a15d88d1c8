// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What people and pipelines type, through the real kubectl.
var _ = Describe("a pipeline", func() {
	manifest := func(spec string) string {
		GinkgoHelper()
		path := filepath.Join(GinkgoT().TempDir(), "removal.yaml")
		text := "apiVersion: net.selvage.dev/v1alpha1\nkind: PeerRemoval\nmetadata: {name: host3}\nspec: " + spec + "\n"
		Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
		return path
	}
	heir := func() string {
		GinkgoHelper()
		name, _, err := unstructured.NestedString(get(GinkgoT().Context(), who.admin, kindRemoval, "host3").Object, "spec", "heir")
		Expect(err).NotTo(HaveOccurred())
		return name
	}
	BeforeEach(func() {
		DeferCleanup(func(ctx SpecContext) { remove(ctx, who.admin, kindRemoval, "host3") })
	})

	const second = `The PeerRemoval "host3" is invalid: spec.heir: Forbidden: ` +
		`this removal was declared with heir host1: delete it (cancel) before declaring another`

	It("that applies a second heir is told the first", func(ctx SpecContext) {
		out, err := who.pipeline.kubectl(ctx, "apply", "-f", manifest("{heir: host1}"))
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(strings.TrimSpace(out)).To(Equal("peerremoval.net.selvage.dev/host3 created"))
		out, err = who.pipeline.kubectl(ctx, "apply", "-f", manifest("{heir: host2}"))
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring(second))
		Expect(heir()).To(Equal("host1"))
	})

	It("that applies by force from the server's side is refused just the same", func(ctx SpecContext) {
		apply := func(manager, file string) (string, error) {
			return who.pipeline.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager="+manager, "-f", file)
		}
		out, err := apply("one", manifest("{heir: host1}"))
		Expect(err).NotTo(HaveOccurred(), out)
		out, err = apply("two", manifest("{heir: host2}"))
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring(second))
		out, err = apply("two", manifest("{}"))
		Expect(err).NotTo(HaveOccurred(), "saying nothing of the heir leaves it to the first manager: %s", out)
		out, err = apply("one", manifest("{}"))
		Expect(err).To(HaveOccurred(), "the manager of the heir takes it away")
		Expect(out).To(ContainSubstring(second))
		Expect(heir()).To(Equal("host1"))
	})

	It("that applies without force is told who manages the heir", func(ctx SpecContext) {
		out, err := who.pipeline.kubectl(ctx, "apply", "--server-side", "--field-manager=one", "-f", manifest("{heir: host1}"))
		Expect(err).NotTo(HaveOccurred(), out)
		out, err = who.pipeline.kubectl(ctx, "apply", "--server-side", "--field-manager=two", "-f", manifest("{heir: host2}"))
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring(`conflict with "one": .spec.heir`))
	})

	It("may declare anew after a cancel", func(ctx SpecContext) {
		out, err := who.pipeline.kubectl(ctx, "apply", "-f", manifest("{heir: host1}"))
		Expect(err).NotTo(HaveOccurred(), out)
		out, err = who.pipeline.kubectl(ctx, "delete", "-f", manifest("{heir: host1}"))
		Expect(err).NotTo(HaveOccurred(), out)
		out, err = who.pipeline.kubectl(ctx, "apply", "-f", manifest("{heir: host2}"))
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(heir()).To(Equal("host2"))
	})

	It("that deletes a Peer is told to apply a PeerRemoval", func(ctx SpecContext) {
		setTheScene(ctx)
		out, err := who.admin.kubectl(ctx, "delete", "peer", "host3", "--wait=false")
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring("apply a PeerRemoval of its name: kubectl selvage rmpeer host3"))
	})

	It("finds every sample accepted", func(ctx SpecContext) {
		out, err := who.pipeline.kubectl(ctx, "apply", "--dry-run=server", "-k", configDir+"/samples")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(strings.Split(strings.TrimSpace(out), "\n")).To(HaveLen(3))
		Expect(out).NotTo(ContainSubstring("Warning"))
	})
})
