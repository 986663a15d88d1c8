// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

const (
	configDir = "../../../config"
	namespace = "selvage-system"
	// patience is for what happens by itself: machines may be slow.
	patience = 60 * time.Second
)

// caller is somebody with credentials of their own.
type caller struct {
	client.Client
	kubeconfig string
}

// The callers: all real identities, authenticated by the API server.
type callers struct {
	admin      caller // cluster-admin
	controller caller // the controller's service account
	host1      caller // the agent of node host1, with a token bound to its pod
	host2      caller
	unbound    caller // the agents' service account, with a token bound to nothing
	pipeline   caller // has the ClusterRole edit, and so what is aggregated to it
	bystander  caller // may do everything with Selvage's objects, except break glass
	impostor   caller // a service account with the controller's name elsewhere, with the same rights as the bystander
}

var (
	plane *controlplane.ControlPlane
	who   callers
)

// ginkgosOwn waits for Ctrl-C until the end.
var ginkgosOwn = goleak.IgnoreAnyFunction("github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2")

// TestMain fails if anything leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, ginkgosOwn) }

func TestAPI(t *testing.T) {
	log.SetLogger(GinkgoLogr)
	RegisterFailHandler(Fail)
	RunSpecs(t, "what the API server refuses and lets pass")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	plane = start(ctx)
	Expect(plane.Install(ctx, configDir+"/default", configDir+"/crd-guard")).To(Succeed())
	who = introduce(ctx, plane, namespace)
}, NodeTimeout(30*time.Minute))

// start boots a control plane with the controllers whose doings the policies
// must let pass.
func start(ctx context.Context) *controlplane.ControlPlane {
	GinkgoHelper()
	cp, err := controlplane.Start(ctx, controlplane.Options{
		ControllerManager: true,
		Controllers: []string{
			"garbage-collector-controller", "storage-version-migrator-controller",
			"clusterrole-aggregation-controller", "validatingadmissionpolicy-status-controller",
		},
		Out: GinkgoWriter,
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(cp.Stop)
	return cp
}

func introduce(ctx context.Context, cp *controlplane.ControlPlane, namespace string) callers {
	GinkgoHelper()
	var w callers
	w.admin = as(cp.Kubeconfig, cp.Config)
	w.controller = account(ctx, cp, namespace, "selvage-controller")
	w.unbound = account(ctx, cp, namespace, controlplane.AgentAccount)
	w.host1 = agent(ctx, cp, namespace, "host1")
	w.host2 = agent(ctx, cp, namespace, "host2")
	w.impostor = account(ctx, cp, "elsewhere", "selvage-controller")

	path, config, err := cp.UserFor("pipeline")
	Expect(err).NotTo(HaveOccurred())
	w.pipeline = as(path, config)
	path, config, err = cp.UserFor("bystander")
	Expect(err).NotTo(HaveOccurred())
	w.bystander = as(path, config)

	grantAllButGlass(ctx, w.admin)
	bind(ctx, w.admin, "pipeline-edits", "edit", subject("pipeline"))
	bind(ctx, w.admin, "all-but-glass", "all-but-glass",
		subject("bystander"),
		rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "elsewhere", Name: "selvage-controller"},
		// Agents too, so that it is the policy that refuses them, not RBAC.
		rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: controlplane.AgentAccount})
	return w
}

func grantAllButGlass(ctx context.Context, admin client.Client) {
	GinkgoHelper()
	Expect(admin.Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "all-but-glass"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"net.selvage.dev", "coordination.k8s.io"}, Resources: []string{"*"},
			Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
		}, {
			APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, Verbs: []string{"delete"},
		}},
	})).To(Succeed())
}

func bind(ctx context.Context, admin client.Client, name, role string, subjects ...rbacv1.Subject) {
	GinkgoHelper()
	Expect(admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	})).To(Succeed())
}

func agent(ctx context.Context, cp *controlplane.ControlPlane, namespace, node string) caller {
	GinkgoHelper()
	_, err := cp.NewNode(ctx, node)
	Expect(err).NotTo(HaveOccurred())
	pod, err := cp.NewPod(ctx, namespace, "selvage-agent-"+node, node, controlplane.AgentAccount)
	Expect(err).NotTo(HaveOccurred())
	path, config, err := cp.KubeconfigFor(ctx, namespace, controlplane.AgentAccount, pod)
	Expect(err).NotTo(HaveOccurred())
	return as(path, config)
}

func account(ctx context.Context, cp *controlplane.ControlPlane, namespace, name string) caller {
	GinkgoHelper()
	path, config, err := cp.KubeconfigFor(ctx, namespace, name, nil)
	Expect(err).NotTo(HaveOccurred())
	return as(path, config)
}

func as(path string, config *rest.Config) caller {
	GinkgoHelper()
	all := runtime.NewScheme()
	Expect(scheme.AddToScheme(all)).To(Succeed())
	Expect(apiextensionsv1.AddToScheme(all)).To(Succeed())
	Expect(v1alpha1.AddToScheme(all)).To(Succeed())
	c, err := client.New(config, client.Options{Scheme: all})
	Expect(err).NotTo(HaveOccurred())
	return caller{Client: c, kubeconfig: path}
}

// kubectl runs the real one, and returns all that it prints.
func (c caller) kubectl(ctx context.Context, args ...string) (string, error) {
	return run(ctx, plane, c.kubeconfig, args...)
}

// kubectl as an administrator of some control plane.
func kubectl(ctx context.Context, cp *controlplane.ControlPlane, args ...string) (string, error) {
	return run(ctx, cp, cp.Kubeconfig, args...)
}

func run(ctx context.Context, cp *controlplane.ControlPlane, kubeconfig string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, cp.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func subject(user string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}
}
