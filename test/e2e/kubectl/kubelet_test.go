// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kubelet is as much of one as exec and logs take: the API server hands both to
// the node's kubelet. What is executed is the real program.
type kubelet struct {
	// programs are by the path that they have in their image.
	programs map[string]string
	// logs are by container.
	logs map[string]string
}

// streamProtocol is that of exec with exit codes.
const streamProtocol = "v4.channel.k8s.io"

func (k *kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	words := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // verb, namespace, pod, container
	switch {
	case words[0] == "containerLogs" && len(words) == 4 && r.URL.Query().Get("previous") == "":
		_, _ = w.Write([]byte(k.logs[words[3]]))
	case words[0] == "exec":
		if err := k.exec(w, r); err != nil {
			GinkgoWriter.Printf("the kubelet: %v\n", err)
		}
	default:
		http.NotFound(w, r)
	}
}

func (k *kubelet) exec(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpstream.Handshake(r, w, []string{streamProtocol}); err != nil {
		return err
	}
	came := make(chan httpstream.Stream, 4)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		came <- s
		return nil
	})
	if conn == nil {
		return errors.New("no upgrade")
	}
	defer conn.Close()
	streams := map[string]httpstream.Stream{}
	for len(streams) < 3 {
		select {
		case s := <-came:
			streams[s.Headers().Get(corev1.StreamType)] = s
		case <-conn.CloseChan():
			return errors.New("closed before its streams came")
		}
	}
	command := r.URL.Query()["command"]
	program, known := k.programs[command[0]]
	status := metav1.Status{Status: metav1.StatusSuccess}
	if !known {
		status = metav1.Status{Status: metav1.StatusFailure, Message: "no such program: " + command[0]}
	} else {
		cmd := exec.CommandContext(r.Context(), program, command[1:]...)
		cmd.Stdout, cmd.Stderr = streams[corev1.StreamTypeStdout], streams[corev1.StreamTypeStderr]
		if err := cmd.Run(); err != nil {
			status = metav1.Status{Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Message: err.Error(), Details: &metav1.StatusDetails{
				Causes: []metav1.StatusCause{{Type: "ExitCode", Message: "1"}},
			}}
		}
	}
	_ = streams[corev1.StreamTypeStdout].Close()
	_ = streams[corev1.StreamTypeStderr].Close()
	err := json.NewEncoder(streams[corev1.StreamTypeError]).Encode(status)
	return errors.Join(err, streams[corev1.StreamTypeError].Close())
}

// nodeWithKubelet is a Node on the loopback with an agent's pod, whose kubelet
// answers until the spec ends.
func nodeWithKubelet(ctx context.Context, name string, k *kubelet, args ...string) {
	GinkgoHelper()
	k.programs = map[string]string{"/selvage-agent": filepath.Join(cluster.Bin, "selvage-agent")}
	server := httptest.NewTLSServer(k)
	DeferCleanup(server.Close)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Expect(cluster.Admin.Create(ctx, node)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(cluster.Admin.Delete(ctx, node)).To(Succeed()) })
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(server.Listener.Addr().(*net.TCPAddr).Port)
	Expect(cluster.Admin.Status().Update(ctx, node)).To(Succeed())

	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "selvage-agent-" + name, Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/name": "selvage", "app.kubernetes.io/component": "agent"},
		},
		Spec: corev1.PodSpec{
			NodeName: name, ServiceAccountName: "selvage-agent", HostNetwork: true,
			Containers: []corev1.Container{{Name: "agent", Image: "none.invalid/none", Args: args}},
		},
	}
	Expect(cluster.Admin.Create(ctx, pod)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) {
		Expect(cluster.Admin.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
	})
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	Expect(cluster.Admin.Status().Update(ctx, pod)).To(Succeed())
}
