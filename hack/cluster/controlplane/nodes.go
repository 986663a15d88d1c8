// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// AgentAccount is the node agents' service account.
const AgentAccount = "selvage-agent"

// NewNode registers a Node with its addresses, ready, as its kubelet would.
func (cp *ControlPlane) NewNode(ctx context.Context, name string, addresses ...netip.Addr) (*corev1.Node, error) {
	clients, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	made, err := clients.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("registering the node %s: %w", name, err)
	}
	made.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}
	for _, a := range addresses {
		made.Status.Addresses = append(made.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	made.Status.Addresses = append(made.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
	made, err = clients.CoreV1().Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("reporting the addresses of the node %s: %w", name, err)
	}
	return made, nil
}

// NewPod makes a Pod object that is bound to a node from the start, under the
// given service account (made if absent; empty: the namespace's default).
func (cp *ControlPlane) NewPod(ctx context.Context, namespace, name, node, account string) (*corev1.Pod, error) {
	clients, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	if account == "" {
		account = "default"
	}
	if err := ensureAccount(ctx, clients, namespace, account); err != nil {
		return nil, err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: account,
			Containers: []corev1.Container{{Name: "main", Image: "none.invalid/none"}},
		},
	}
	if account == AgentAccount {
		pod.Spec.HostNetwork = true
	}
	made, err := clients.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("making the pod %s/%s: %w", namespace, name, err)
	}
	return made, nil
}

// SetPodAddresses reports a pod running with these addresses, as its kubelet
// does, some time after its sandbox has them.
func (cp *ControlPlane) SetPodAddresses(ctx context.Context, pod *corev1.Pod, addresses ...netip.Addr) error {
	clients, err := kubernetes.NewForConfig(cp.Config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	now, err := clients.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	now.Status.Phase, now.Status.PodIP, now.Status.PodIPs = corev1.PodRunning, "", nil
	for _, a := range addresses {
		now.Status.PodIPs = append(now.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	if len(addresses) > 0 {
		now.Status.PodIP = addresses[0].String()
	}
	if _, err := clients.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, now, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("reporting the addresses of the pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// NewAgent is what a node's agent needs to start: its pod on the node and a
// kubeconfig with a token bound to it, for the given address of the API server
// (the zero AddrPort: the one it listens on).
func (cp *ControlPlane) NewAgent(ctx context.Context, namespace, node string, server netip.AddrPort) (string, *corev1.Pod, error) {
	pod, err := cp.NewPod(ctx, namespace, AgentAccount+"-"+node, node, AgentAccount)
	if err != nil {
		return "", nil, err
	}
	if !server.IsValid() {
		server = cp.Address
	}
	path, _, err := cp.KubeconfigVia(ctx, server, namespace, AgentAccount, pod)
	return path, pod, err
}
