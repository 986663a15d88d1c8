// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package scripted is a network for tests of what people type and see: the API
// server, the kinds and the policies are real, and the test plays the
// controller's and the agents' parts, each under its own identity.
package scripted

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
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
	// Namespace is where Selvage is installed.
	Namespace = "selvage-system"
	// Patience is for what happens by itself: machines may be slow.
	Patience = 60 * time.Second

	source = "../../.." // seen from a suite's folder
)

// Network is one control plane, and the identities that act on it.
type Network struct {
	Plane             *controlplane.ControlPlane
	Admin, Controller client.Client
	// Hosts are the nodes' addresses by name, Nodes their uids, and Agents
	// their agents, each with a token bound to a pod of its own.
	Hosts  map[string]string
	Nodes  map[string]types.UID
	Agents map[string]client.Client
	// Bin is a folder with kubectl-selvage and kubectl.
	Bin string
}

// New starts a network that ends with the suite. Its nodes are there; nobody
// has joined.
func New(ctx context.Context, hosts map[string]string) *Network {
	GinkgoHelper()
	n := &Network{Hosts: hosts, Nodes: map[string]types.UID{}, Agents: map[string]client.Client{}, Bin: GinkgoT().TempDir()}
	n.Build(ctx, "kubectl-selvage")
	var err error
	n.Plane, err = controlplane.Start(ctx, controlplane.Options{Out: GinkgoWriter})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { n.Plane.Stop() })
	Expect(os.Symlink(n.Plane.Kubectl, filepath.Join(n.Bin, "kubectl"))).To(Succeed())
	n.Install(ctx)
	n.Admin = as(n.Plane.Config)
	_, config, err := n.Plane.KubeconfigFor(ctx, Namespace, "selvage-controller", nil)
	Expect(err).NotTo(HaveOccurred())
	n.Controller = as(config)
	for name, address := range hosts {
		node, err := n.Plane.NewNode(ctx, name, netip.MustParseAddr(address))
		Expect(err).NotTo(HaveOccurred())
		n.Nodes[name] = node.UID
		path, _, err := n.Plane.NewAgent(ctx, Namespace, name, netip.AddrPort{})
		Expect(err).NotTo(HaveOccurred())
		config, err := clientcmd.BuildConfigFromFlags("", path)
		Expect(err).NotTo(HaveOccurred())
		n.Agents[name] = as(config)
	}
	return n
}

// Install installs kinds, rights and policies.
func (n *Network) Install(ctx context.Context) {
	GinkgoHelper()
	Expect(n.Plane.Install(ctx, source+"/config/default")).To(Succeed())
}

// Build builds one of the programs into Bin, as version v0.0.0-test, and
// returns its path.
func (n *Network) Build(ctx context.Context, program string) string {
	GinkgoHelper()
	path := filepath.Join(n.Bin, program)
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", path, source+"/cmd/"+program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = GinkgoWriter, GinkgoWriter
	Expect(build.Run()).To(Succeed())
	return path
}

// Command prepares kubectl selvage, called through kubectl, as people do.
func (n *Network) Command(ctx context.Context, kubeconfig string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(n.Bin, "kubectl"), append([]string{"selvage"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+n.Bin+":"+os.Getenv("PATH"))
	return cmd
}

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
