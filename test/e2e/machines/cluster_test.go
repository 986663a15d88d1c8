// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machines

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/hack/images/oci"
)

const (
	image = "localhost/machines-workload:1"
	port  = 8080
	// patience is how long a shared machine may take for what usually takes
	// seconds.
	patience = 2 * time.Minute
)

type output struct{ t *testing.T }

func (o output) Write(p []byte) (int, error) {
	o.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// cluster is a running one, with what the tests ask it for.
type cluster struct {
	*nodes.Cluster
	t       *testing.T
	clients kubernetes.Interface
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: nodes take root: sudo make e2e")
	}
}

// boot boots a cluster in dir that ends with the test, and has the workload.
func boot(t *testing.T, dir string, options nodes.Options) *cluster {
	t.Helper()
	needRoot(t)
	options.Dir, options.Out, options.ReferenceCNI = dir, output{t}, true
	up, err := nodes.Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := up.Down(context.Background()); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	clients, err := kubernetes.NewForConfig(up.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := up.LoadImage(t.Context(), workload(t)); err != nil {
		t.Fatal(err)
	}
	return &cluster{Cluster: up, t: t, clients: clients}
}

// workload builds the image of what runs in pods.
func workload(t *testing.T) string {
	t.Helper()
	root, err := controlplane.SourceDir()
	if err != nil {
		t.Fatal(err)
	}
	program, archive := filepath.Join(t.TempDir(), "workload"), filepath.Join(t.TempDir(), "workload.tar")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./test/e2e/nodes/workload")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the workload: %v\n%s", err, said)
	}
	_, err = oci.Write(archive, oci.Image{Ref: image, Entrypoint: []string{"/workload"}}, []oci.Platform{{
		Architecture: runtime.GOARCH, Files: []oci.File{{Path: "/workload", Source: program}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// pod makes a pod that answers with its name, and waits until it is Ready.
func (c *cluster) pod(name, node string) *corev1.Pod {
	c.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "workload"}},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{
				Name: "workload", Image: image, ImagePullPolicy: corev1.PullNever, Args: []string{"serve"},
				Env: []corev1.EnvVar{{Name: "NAME", Value: name}},
			}},
		},
	}
	if _, err := c.clients.CoreV1().Pods("default").Create(c.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	return c.awaitPod(name, "")
}

// awaitPod waits until the pod's container runs, as another one than before.
func (c *cluster) awaitPod(name, before string) (pod *corev1.Pod) {
	c.t.Helper()
	c.until("the pod "+name+" runs", func(ctx context.Context) (err error) {
		if pod, err = c.clients.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if len(pod.Status.ContainerStatuses) != 1 || !pod.Status.ContainerStatuses[0].Ready || pod.Status.ContainerStatuses[0].ContainerID == before {
			return fmt.Errorf("%s: %+v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return nil
	})
	return pod
}

// service makes a Service of all workloads, and returns its addresses.
func (c *cluster) service() []netip.AddrPort {
	c.t.Helper()
	policy := corev1.IPFamilyPolicyPreferDualStack
	made, err := c.clients.CoreV1().Services("default").Create(c.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "workload"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "workload"}, Ports: []corev1.ServicePort{{Port: port}}, IPFamilyPolicy: &policy,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	var addresses []netip.AddrPort
	for _, ip := range made.Spec.ClusterIPs {
		addresses = append(addresses, netip.AddrPortFrom(netip.MustParseAddr(ip), port))
	}
	return addresses
}

// ask lets one pod ask an address until it answers, and returns who answered.
func (c *cluster) ask(from string, to netip.AddrPort) (said string) {
	c.t.Helper()
	c.until(fmt.Sprintf("%s answers %s", to, from), func(ctx context.Context) (err error) {
		said, err = c.kubectl(ctx, "exec", from, "--", "/workload", "ask", "tcp", to.String())
		return err
	})
	return said
}

func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.ControlPlane.Kubectl, append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)...)
	said, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return strings.TrimSpace(string(said)), nil
}

// until asks again and again until there is no error.
func (c *cluster) until(what string, ask func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = ask(ctx)
		return last == nil, nil
	})
	if err != nil {
		c.t.Fatalf("waiting until %s: %v: %v", what, err, last)
	}
}

func (c *cluster) node(name string) *nodes.Node {
	c.t.Helper()
	n, err := c.Node(name)
	c.must(err)
	return n
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// on runs a shell command on a node.
func (c *cluster) on(node, command string) string {
	c.t.Helper()
	said, err := c.node(node).Output(c.t.Context(), "sh", "-c", command)
	c.must(err)
	return strings.TrimSpace(said)
}
