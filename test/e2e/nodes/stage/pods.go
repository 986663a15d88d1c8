// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is for what happens by itself: machines may be slow.
const patience = 2 * time.Minute

// Port is where workloads answer.
const Port = "8080"

// Pod is a workload that answers with its own uid, on the node of that name.
func Pod(name, node string) *corev1.Pod {
	second := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName: node,
			Containers: []corev1.Container{{
				Name: "workload", Image: Workload, ImagePullPolicy: corev1.PullNever, Args: []string{"serve"},
				Env: []corev1.EnvVar{{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.uid"}}}},
			}},
			TerminationGracePeriodSeconds: &second,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
}

// Start creates pods and waits until they run and have addresses. They are
// filled in.
func (s *Stage) Start(ctx context.Context, pods ...*corev1.Pod) error {
	for _, p := range pods {
		if err := s.Client.Create(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range pods {
		if err := s.AwaitRunning(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// AwaitRunning waits until a pod is Ready and has an address.
func (s *Stage) AwaitRunning(ctx context.Context, p *corev1.Pod) error {
	return s.Eventually(ctx, "pod "+p.Name+" to run", func(ctx context.Context) error {
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if !ready || p.Status.PodIP == "" {
			return fmt.Errorf("%s on %s is %s: %v", p.Name, p.Spec.NodeName, p.Status.Phase, p.Status.ContainerStatuses)
		}
		return nil
	})
}

// Delete deletes pods and waits until they are gone.
func (s *Stage) Delete(ctx context.Context, pods ...*corev1.Pod) error {
	for _, p := range pods {
		uid := p.UID
		if err := s.Client.Delete(ctx, p, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return s.Eventually(ctx, "pods to be gone", func(ctx context.Context) error {
		for _, p := range pods {
			var now corev1.Pod
			err := s.Client.Get(ctx, client.ObjectKeyFromObject(p), &now)
			if err == nil && now.UID == p.UID {
				return fmt.Errorf("%s is still there", p.Name)
			}
			if client.IgnoreNotFound(err) != nil {
				return err
			}
		}
		return nil
	})
}

// Eventually asks again and again until there is no error, and gives up with
// the last one.
func (s *Stage) Eventually(ctx context.Context, what string, try func(context.Context) error) error {
	last := errors.New("never tried")
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		if err := try(ctx); err != nil {
			if ctx.Err() == nil {
				last = err
			}
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w; the last was: %w", what, err, last)
	}
	return nil
}

// Address is where a workload answers.
func Address(p *corev1.Pod) string { return net.JoinHostPort(p.Status.PodIP, Port) }

// Exec runs the workload program in a pod.
func (s *Stage) Exec(ctx context.Context, p *corev1.Pod, args ...string) (string, error) {
	return s.Kubectl(ctx, append([]string{"--namespace", p.Namespace, "exec", p.Name, "--", "/workload"}, args...)...)
}

// Ask asks from a pod and returns who answers there, and the address he saw.
func (s *Stage) Ask(ctx context.Context, from *corev1.Pod, args ...string) (who, saw string, err error) {
	return answer(s.Exec(ctx, from, append([]string{"ask"}, args...)...))
}

// AskFrom asks from a node's own network.
func (s *Stage) AskFrom(ctx context.Context, node string, args ...string) (who, saw string, err error) {
	n, err := s.Node(node)
	if err != nil {
		return "", "", err
	}
	return answer(run(exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.Host().NetNS, "--", s.work + "/workload", "ask"}, args...)...)))
}

func answer(out string, err error) (who, saw string, _ error) {
	if err != nil {
		return "", "", err
	}
	words := strings.Fields(out)
	if len(words) != 2 {
		return "", "", fmt.Errorf("%q is no answer", out)
	}
	return words[0], words[1], nil
}

// Flow is a pod that keeps a flow to another going.
type Flow struct{ *corev1.Pod }

// Report is what became of a flow.
type Report struct {
	Sent     int      `json:"sent"`
	Answered int      `json:"answered"`
	Refused  int      `json:"refused"`
	Longest  int64    `json:"longestMillis"`
	Who      []string `json:"who"`
}

// StartFlow starts a flow of 100 messages a second, over tcp or udp, from a
// pod of its own on that node, and waits until it flows.
func (s *Stage) StartFlow(ctx context.Context, name, node, network, address string) (Flow, error) {
	p := Pod(name, node)
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.Containers[0].Args = []string{"flow", network, address, "--rate=100", "--until=/enough"}
	if err := s.Start(ctx, p); err != nil {
		return Flow{}, err
	}
	return Flow{p}, s.Eventually(ctx, name+" to flow", func(ctx context.Context) error {
		out, err := s.Kubectl(ctx, "logs", p.Name)
		if err == nil && !strings.HasPrefix(out, "flowing") {
			err = fmt.Errorf("%s says %q", p.Name, out)
		}
		return err
	})
}

// EndFlow stops it, and returns what became of it.
func (s *Stage) EndFlow(ctx context.Context, f Flow) (r Report, err error) {
	if _, err := s.Exec(ctx, f.Pod, "enough", "/enough"); err != nil {
		return r, err
	}
	err = s.Eventually(ctx, f.Name+" to report", func(ctx context.Context) error {
		out, err := s.Kubectl(ctx, "logs", f.Name)
		if err != nil {
			return err
		}
		_, last, _ := strings.Cut(out, "\n")
		return json.Unmarshal([]byte(last), &r)
	})
	return r, errors.Join(err, s.Delete(ctx, f.Pod))
}
