// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"bytes"
	"context"
	"errors"
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

var (
	plane      *controlplane.ControlPlane
	admin      client.Client
	controller client.Client
	// agents are the hosts' agents, each with a token bound to its own pod.
	agents = map[string]client.Client{}
	// hosts are the nodes and their addresses, nodes their uids.
	hosts = map[string]string{"host1": "192.168.77.11", "host2": "192.168.77.12", "host3": "192.168.77.13", "host4": "192.168.77.14"}
	nodes = map[string]types.UID{}
	// bin is a folder with kubectl-selvage and kubectl.
	bin string
)

// ginkgosOwn waits for Ctrl-C until the end.
var ginkgosOwn = goleak.IgnoreAnyFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2")

// TestMain fails if anything leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, ginkgosOwn) }

func TestKubectl(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "kubectl selvage")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	bin = GinkgoT().TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", bin, "../../../cmd/kubectl-selvage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = GinkgoWriter, GinkgoWriter
	Expect(build.Run()).To(Succeed())

	var err error
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

// answer is what the program printed, and how it ended.
type answer struct {
	out, err string
	code     int
}

// run runs kubectl selvage as an administrator.
func run(ctx context.Context, args ...string) answer {
	GinkgoHelper()
	return runAs(ctx, plane.Kubeconfig, args...)
}

func runAs(ctx context.Context, kubeconfig string, args ...string) answer {
	GinkgoHelper()
	cmd, stdout, stderr := command(ctx, kubeconfig, args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		Expect(err).NotTo(HaveOccurred())
	}
	a := answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	GinkgoWriter.Printf("$ kubectl selvage %v\n%s%s(%d)\n", args, a.out, a.err, a.code)
	return a
}

// command prepares the program, called through kubectl, as people do.
func command(ctx context.Context, kubeconfig string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "kubectl"), append([]string{"selvage"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+bin+":"+os.Getenv("PATH"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

// succeed expects exit code 0, and returns what was printed.
func (a answer) succeed() string {
	GinkgoHelper()
	Expect(a.code).To(Equal(0), a.out+a.err)
	return a.out
}

// fail expects that exit code and these words in the error.
func (a answer) fail(code int, words ...string) {
	GinkgoHelper()
	Expect(a.code).To(Equal(code), a.out+a.err)
	for _, w := range words {
		Expect(a.err).To(ContainSubstring(w))
	}
}
