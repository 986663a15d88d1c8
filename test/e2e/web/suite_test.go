// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package web

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

const (
	configDir = "../../../config"
	namespace = "selvage-system"
	// patience is for what happens by itself: machines may be slow.
	patience = 60 * time.Second
)

var updateScreenshots = flag.Bool("update-screenshots", false, "take the pictures in docs/images anew")

var (
	plane             *controlplane.ControlPlane
	admin, controller client.Client
	// hosts are the nodes; agents their agents, each with a token of its own.
	hosts = map[string]string{
		"host1": "192.168.77.11", "host2": "192.168.77.12", "host3": "192.168.77.13",
		"host4": "192.168.77.14", "host5": "192.168.77.15", "host6": "192.168.77.16",
	}
	nodes  = map[string]types.UID{}
	agents = map[string]client.Client{}
	// bin is a folder with kubectl-selvage and kubectl.
	bin string
)

// ginkgosOwn waits for Ctrl-C until the end.
var ginkgosOwn = goleak.IgnoreAnyFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2")

// TestMain fails if anything leaves a goroutine behind.
func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m, ginkgosOwn)
}

func TestWeb(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "kubectl selvage web")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	_, err := exec.LookPath(chromium)
	Expect(err).NotTo(HaveOccurred(), "these tests need a browser: hack/setup.sh installs Debian's chromium")
	bin = GinkgoT().TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", bin, "../../../cmd/kubectl-selvage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = GinkgoWriter, GinkgoWriter
	Expect(build.Run()).To(Succeed())

	plane, err = controlplane.Start(ctx, controlplane.Options{Out: GinkgoWriter})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { plane.Stop() })
	Expect(os.Symlink(plane.Kubectl, filepath.Join(bin, "kubectl"))).To(Succeed())
	Expect(plane.Install(ctx, configDir+"/default")).To(Succeed())
	admin = as(plane.Config)
	_, config, err := plane.KubeconfigFor(ctx, namespace, "selvage-controller", nil)
	Expect(err).NotTo(HaveOccurred())
	controller = as(config)
	for name, address := range hosts {
		node, err := plane.NewNode(ctx, name, netip.MustParseAddr(address))
		Expect(err).NotTo(HaveOccurred())
		nodes[name] = node.UID
		path, _, err := plane.NewAgent(ctx, namespace, name, netip.AddrPort{})
		Expect(err).NotTo(HaveOccurred())
		config, err := clientcmd.BuildConfigFromFlags("", path)
		Expect(err).NotTo(HaveOccurred())
		agents[name] = as(config)
	}
}, NodeTimeout(30*time.Minute))

func as(config *rest.Config) client.Client {
	GinkgoHelper()
	config = rest.CopyConfig(config)
	config.QPS = -1 // tests are in no queue
	all := runtime.NewScheme()
	Expect(scheme.AddToScheme(all)).To(Succeed())
	Expect(v1alpha1.AddToScheme(all)).To(Succeed())
	c, err := client.New(config, client.Options{Scheme: all})
	Expect(err).NotTo(HaveOccurred())
	return c
}
