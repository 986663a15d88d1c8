// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package helm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// cluster is a control plane with all of Kubernetes' controllers, and without
// nodes.
type cluster struct {
	*testing.T
	*controlplane.ControlPlane
	client.Client
	// path has helm and kubectl.
	path string
}

func boot(t *testing.T) *cluster {
	t.Helper()
	log.SetLogger(logr.Discard())
	c := &cluster{T: t, path: t.TempDir()}
	var err error
	c.ControlPlane, err = controlplane.Start(t.Context(), controlplane.Options{ControllerManager: true, Out: t.Output()})
	c.must(err)
	t.Cleanup(c.Stop)
	c.Client = c.as(c.Config)
	program, err := filepath.Abs(filepath.Join(tools, "helm"))
	c.must(err)
	c.must(os.Symlink(program, filepath.Join(c.path, "helm")))
	c.must(os.Symlink(c.Kubectl, filepath.Join(c.path, "kubectl")))
	return c
}

func (c *cluster) as(config *rest.Config) client.Client {
	c.Helper()
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		c.must(add(all))
	}
	as, err := client.New(config, client.Options{Scheme: all})
	c.must(err)
	return as
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// try types a line, from the root of the source.
func (c *cluster) try(line string) (string, error) {
	c.Helper()
	home := c.TempDir()
	cmd := exec.CommandContext(c.Context(), "bash", "-c", line)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "PATH="+c.path+":"+os.Getenv("PATH"), "KUBECONFIG="+c.Kubeconfig,
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	c.Logf("$ %s\n%s", line, out)
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return string(out), err
}

func (c *cluster) typed(line string) string {
	c.Helper()
	out, err := c.try(line)
	c.must(err)
	return out
}

// helmSection are the commands of docs/install.md, With Helm.
func helmSection(t *testing.T) (commands []string) {
	t.Helper()
	page, err := os.ReadFile(source + "docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## With Helm\n")
	section, _, ends := strings.Cut(section, "\n## ")
	for _, line := range strings.Split(section, "\n") {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			commands = append(commands, command)
		}
	}
	if !found || !ends || len(commands) < 15 {
		t.Fatalf("docs/install.md has no section With Helm, or only %d commands in it", len(commands))
	}
	return commands
}

// What docs/install.md says, from the first command to the last.
func TestDocs(t *testing.T) {
	c := boot(t)
	for _, command := range helmSection(t) {
		out := c.typed(command)
		switch {
		case strings.HasPrefix(command, "helm install"):
			for _, said := range []string{"kubectl get peers", "cidr: 10.32.0.0/12", "goes on as before"} {
				if !strings.Contains(out, said) {
					t.Errorf("the notes do not say %q", said)
				}
			}
			if strings.Contains(out, "WARNING") {
				t.Error("the namespace is labelled, and the notes warn that it is not")
			}
		case strings.Contains(command, "agent.leave=true"):
			if !strings.Contains(out, "The agents leave the network for good") {
				t.Error("the notes do not say that the agents leave")
			}
			if args := c.typed("kubectl -n selvage-system get daemonset selvage-agent -o jsonpath={..command}"); args != `["/selvage-agent","reset","--cut-off-pods","--stay"]` {
				t.Errorf("the agents run %s", args)
			}
		}
	}
	for _, kind := range []string{"crds", "clusterroles", "clusterrolebindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
		if left := c.typed("kubectl get " + kind + " -o name"); strings.Contains(left, "selvage") {
			t.Errorf("left behind:\n%s", left)
		}
	}
}

const install = "helm install selvage charts/selvage --namespace selvage-system --create-namespace"

// network is a member of the network as its controller and agent leave it
// behind, with finalizers that only they take off. Neither of them runs here.
func (c *cluster) network() []client.Object {
	c.Helper()
	meta := func(name, finalizer string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Finalizers: []string{finalizer}, Annotations: map[string]string{v1alpha1.BreakGlassAnnotation: "a test"}}
	}
	all := []client.Object{
		&v1alpha1.AddressPool{ObjectMeta: meta("default", v1alpha1.PoolFinalizer), Spec: v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/12"}},
		&v1alpha1.PeerRemoval{ObjectMeta: meta("node2", v1alpha1.RemovalFinalizer)},
		&v1alpha1.Peer{ObjectMeta: meta("node1", v1alpha1.OwnershipFinalizer), Spec: v1alpha1.PeerSpec{NodeName: "node1", InstanceID: "instance-1"}},
	}
	for _, o := range all {
		c.must(c.Create(c.Context(), o))
	}
	owned := &v1alpha1.AddressRange{ObjectMeta: meta("10.32.0.0", ""), Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: "10.32.0.0/24"}}
	owned.Finalizers = nil
	c.must(c.Create(c.Context(), owned))
	owned.Spec.Owner, owned.Spec.Epoch = &v1alpha1.PeerReference{Name: "node1", UID: all[2].GetUID()}, 1
	c.must(c.Update(c.Context(), owned))
	return append(all, owned)
}

// untouched fails if anything of the network was written, or is being deleted.
func (c *cluster) untouched(network []client.Object) {
	c.Helper()
	for _, o := range network {
		now := o.DeepCopyObject().(client.Object)
		c.must(c.Get(c.Context(), client.ObjectKeyFromObject(o), now))
		if now.GetUID() != o.GetUID() || now.GetResourceVersion() != o.GetResourceVersion() || now.GetDeletionTimestamp() != nil {
			c.Errorf("%T %s was touched", o, o.GetName())
		}
	}
}

var plurals = []string{"addresspools", "addressranges", "peers", "peerremovals"}

// guarded waits until the API server refuses to let any kind go.
func (c *cluster) guarded() {
	c.Helper()
	for _, plural := range plurals {
		await.Until(c, "the guard of "+plural, func() error {
			out, err := c.try("kubectl delete crd " + plural + ".net.selvage.dev --dry-run=server")
			if err == nil || !strings.Contains(out, "selvage-"+plural+"-crd-stays") {
				return fmt.Errorf("it would go: %s", out)
			}
			return nil
		})
	}
}

// An uninstall takes no peer's ownership along, however often, and an install
// goes on where it was.
func TestUninstallKeepsTheNetwork(t *testing.T) {
	c := boot(t)
	if out := c.typed(install); !strings.Contains(out, "WARNING") || !strings.Contains(out, "pod-security.kubernetes.io/enforce=privileged") {
		t.Error("the namespace has no label, and the notes do not warn")
	}
	c.typed("kubectl wait --for=condition=Established crd --all --timeout=60s")
	network := c.network()
	c.guarded()
	for _, when := range []string{"once", "twice"} {
		c.typed("helm uninstall selvage --namespace selvage-system --wait")
		c.untouched(network)
		c.guarded()
		left := c.typed("kubectl get deployments,daemonsets,serviceaccounts,configmaps -n selvage-system -o name")
		if strings.Contains(left, "selvage") {
			t.Errorf("uninstalled %s, and there still is:\n%s", when, left)
		}
		c.typed(install)
		c.untouched(network)
	}
	// Deleting it all by hand after that is refused, too.
	c.typed("helm uninstall selvage --namespace selvage-system --wait")
	if out, err := c.try("kubectl delete crds --selector app.kubernetes.io/name=selvage --timeout=60s"); err == nil || !strings.Contains(out, "see docs/install.md, Uninstall") {
		t.Errorf("the kinds went, or were held without a word: %v: %s", err, out)
	}
	c.untouched(network)
	// Another release takes over only when told to.
	other := strings.Replace(install, "install selvage", "install other", 1)
	if out, err := c.try(other); err == nil || !strings.Contains(out, "invalid ownership metadata") {
		t.Errorf("another release: %v: %s", err, out)
	}
	c.typed(other + " --take-ownership")
	c.untouched(network)
}

// An upgrade upgrades the kinds; a rollback takes it back; neither touches what
// they hold. The same again changes nothing.
func TestUpgrade(t *testing.T) {
	c := boot(t)
	c.typed(install)
	c.typed("kubectl wait --for=condition=Established crd --all --timeout=60s")
	network := c.network()
	before := c.contents()
	c.typed("helm upgrade selvage charts/selvage --namespace selvage-system --reset-then-reuse-values")
	c.same(before, "an upgrade to the same")
	newer := filepath.Join(t.TempDir(), "selvage")
	c.must(os.CopyFS(newer, os.DirFS(chart)))
	file := filepath.Join(newer, "files/crd/net.selvage.dev_peers.yaml")
	text, err := os.ReadFile(file)
	c.must(err)
	const was, is = "jsonPath: .status.phase\n      name: Phase", "jsonPath: .status.phase\n      name: Stage"
	if !strings.Contains(string(text), was) {
		t.Fatal("the column Phase of Peers is gone: rename another in this test")
	}
	c.must(os.WriteFile(file, []byte(strings.ReplaceAll(string(text), was, is)), 0o600))
	c.typed("helm upgrade selvage " + newer + " --namespace selvage-system --set controller.replicas=1,agent.headroom=100,leaseDuration=30s")
	c.column("Stage")
	if args := c.typed("kubectl -n selvage-system get daemonset selvage-agent -o jsonpath={..args}"); !strings.Contains(args, "--headroom=100") || !strings.Contains(args, "--lease-duration=30s") {
		t.Errorf("the agents' arguments are %s", args)
	}
	if args := c.typed("kubectl -n selvage-system get deployment selvage-controller -o jsonpath={..args}"); !strings.Contains(args, "--lease-duration=30s") {
		t.Errorf("the controllers' arguments are %s", args)
	}
	c.untouched(network)
	c.typed("helm rollback selvage 1 --namespace selvage-system")
	c.column("Phase")
	c.untouched(network)
	c.guarded()
}

func (c *cluster) column(name string) {
	c.Helper()
	d := &apiextensionsv1.CustomResourceDefinition{}
	c.must(c.Get(c.Context(), client.ObjectKey{Name: "peers.net.selvage.dev"}, d))
	if got := d.Spec.Versions[0].AdditionalPrinterColumns[0].Name; got != name {
		c.Errorf("the kind's first column is %s, and not %s", got, name)
	}
}

// contents are those of all that a release has, but for names and status.
func (c *cluster) contents() map[string]string {
	c.Helper()
	all := map[string]string{}
	for name, o := range objects(c.T, render(c.T)) {
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(o.GroupVersionKind())
		c.must(c.Get(c.Context(), client.ObjectKeyFromObject(o), now))
		uid := now.GetUID()
		delete(now.Object, "metadata")
		delete(now.Object, "status")
		all[name] = string(uid) + " " + text(c.T, now)
	}
	return all
}

// same fails if anything differs.
func (c *cluster) same(before map[string]string, what string) {
	c.Helper()
	for name, now := range c.contents() {
		if now != before[name] {
			c.Errorf("%s has changed %s from\n%s\nto\n%s", what, name, before[name], now)
		}
	}
}

// What kubectl has installed, Helm takes over as it is.
func TestTakeOver(t *testing.T) {
	c := boot(t)
	c.typed("kubectl apply -k config/default")
	c.typed("kubectl wait --for=condition=Established crd --all --timeout=60s")
	c.typed("kubectl apply -k config/crd-guard")
	network := c.network()
	before := c.contents()
	if out, err := c.try(install); err == nil || !strings.Contains(out, "invalid ownership metadata") {
		t.Errorf("without being told to: %v: %s", err, out)
	}
	c.typed(install + " --take-ownership --force-conflicts")
	c.same(before, "taking over")
	c.untouched(network)
	c.typed("helm uninstall selvage --namespace selvage-system")
	c.untouched(network)
	c.guarded()
}
