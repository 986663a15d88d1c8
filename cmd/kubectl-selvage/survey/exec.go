// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// agentContainer is the agent's container, and agentProgram what runs in it.
const (
	agentContainer = "agent"
	agentProgram   = "/selvage-agent"
)

// Doctor runs the doctor in a node's agent pod, with that agent's flags, and
// returns what it says.
func Doctor(ctx context.Context, c Cluster, pod *corev1.Pod) (diagnosis.Report, error) {
	command := []string{agentProgram, "doctor", "--output=json"}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == agentContainer {
			command = append(command, pod.Spec.Containers[i].Args...)
		}
	}
	out, errOut, err := run(ctx, c, pod, command)
	var report diagnosis.Report
	var exit utilexec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return report, fmt.Errorf("running the doctor in pod %s: %w", pod.Name, err)
	}
	// It exits 1 if it finds an error; then it has printed what.
	if jerr := json.Unmarshal(out, &report); jerr != nil {
		said := strings.TrimSpace(string(errOut))
		if said == "" {
			said = jerr.Error()
		}
		return report, fmt.Errorf("the doctor in pod %s: %s (is its agent of a version that has one?)", pod.Name, said)
	}
	return report, nil
}

// run runs a command in the agent's container, by WebSocket, or, where a proxy
// on the way refuses that, by SPDY: as kubectl exec does.
func run(ctx context.Context, c Cluster, pod *corev1.Pod, command []string) (out, errOut []byte, err error) {
	core, err := corev1client.NewForConfig(c.Config)
	if err != nil {
		return nil, nil, err
	}
	url := core.RESTClient().Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: agentContainer, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(c.Config, "POST", url)
	if err != nil {
		return nil, nil, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(c.Config, "GET", url.String())
	if err != nil {
		return nil, nil, err
	}
	either, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, nil, err
	}
	var stdout, stderr bytes.Buffer
	err = either.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	return stdout.Bytes(), stderr.Bytes(), err
}
