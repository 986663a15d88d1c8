// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package install tests what docs/install.md says about installing and
// uninstalling, with kubectl as people use it, on a real API server. What needs
// nodes is in test/e2e/nodes.
package install

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

const (
	config    = "../../../config/"
	namespace = "selvage-system"
	// patience is for what happens by itself: machines may be slow.
	patience = 60 * time.Second
	// bootLimit is for a control plane, whose programs may have to be built.
	bootLimit = 30 * time.Minute
	// limit is for kubectl to end: what hangs has no end.
	limit = "--timeout=60s"
)

func TestInstall(t *testing.T) {
	log.SetLogger(GinkgoLogr)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	RunSpecs(t, "installing and uninstalling")
}

// cluster is a control plane with all of Kubernetes' controllers, and nothing
// of Selvage's.
type cluster struct {
	*controlplane.ControlPlane
	client.Client
}

func boot(ctx context.Context) *cluster {
	GinkgoHelper()
	plane, err := controlplane.Start(ctx, controlplane.Options{ControllerManager: true, Out: GinkgoWriter})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(plane.Stop)
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		Expect(add(all)).To(Succeed())
	}
	c, err := client.New(plane.Config, client.Options{Scheme: all})
	Expect(err).NotTo(HaveOccurred())
	return &cluster{plane, c}
}

func objectMeta(name string, labels ...string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Name: name, Labels: map[string]string{}}
	for i := 0; i < len(labels); i += 2 {
		meta.Labels[labels[i]] = labels[i+1]
	}
	return meta
}

// kubectl runs the real one, and returns all that it prints.
func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	out, err := cmd.CombinedOutput()
	GinkgoWriter.Printf("$ kubectl %s\n%s", strings.Join(args, " "), out)
	return string(out), err
}

// must is kubectl that succeeds.
func (c *cluster) must(ctx context.Context, args ...string) string {
	GinkgoHelper()
	out, err := c.kubectl(ctx, args...)
	Expect(err).NotTo(HaveOccurred(), out)
	return out
}

// install is what docs/install.md says.
func (c *cluster) install(ctx context.Context) {
	GinkgoHelper()
	c.must(ctx, "apply", "-k", config+"default")
	c.must(ctx, "wait", "--for=condition=Established", "crd/addresspools.net.selvage.dev", limit)
	c.must(ctx, "apply", "-k", config+"crd-guard")
	c.must(ctx, "apply", "-k", config+"pool")
}
