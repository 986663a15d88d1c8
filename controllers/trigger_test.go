// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

func TestNodesWakeTheLoop(t *testing.T) {
	a := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "host1"}}
	a.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.0.1"}}
	b := a.DeepCopy()
	b.ResourceVersion = "2"
	b.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	if nodeDelay(a, b) >= 0 {
		t.Error("a heartbeat in the Node's status wakes the loop")
	}
	for what, change := range map[string]func(*corev1.Node){
		"a cordon":   func(n *corev1.Node) { n.Spec.Unschedulable = true },
		"a taint":    func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: v1alpha1.OutOfServiceTaint}} },
		"an address": func(n *corev1.Node) { n.Status.Addresses[0].Address = "192.168.0.2" },
		"a label":    func(n *corev1.Node) { n.Labels = map[string]string{"a": "b"} },
	} {
		c := a.DeepCopy()
		change(c)
		if nodeDelay(a, c) < 0 {
			t.Errorf("%s does not wake the loop", what)
		}
	}
	if nodeDelay(nil, a) < 0 {
		t.Error("a new Node does not wake the loop")
	}
}

func TestPodsWakeTheLoop(t *testing.T) {
	a := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.32.0.7"}}}}
	b := a.DeepCopy()
	b.Labels = map[string]string{"a": "b"}
	if podDelay(a, b) >= 0 {
		t.Error("a label wakes the loop")
	}
	b.Status.PodIPs[0].IP = "10.32.0.8"
	if podDelay(a, b) < 0 {
		t.Error("an address does not wake the loop")
	}
	c := a.DeepCopy()
	c.Status.Phase = corev1.PodSucceeded
	if podDelay(a, c) < 0 {
		t.Error("a pod that ends does not wake the loop")
	}
}

func TestLeasesWakeTheLoop(t *testing.T) {
	l := &Loop{Reader: &Reader{Namespace: "selvage-system"}}
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "selvage-system", Name: name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr("u/r")},
		}
	}
	a, renewed, taken, cut := lease("peer-host1"), lease("peer-host1"), lease("peer-host1"), lease("peer-host1")
	renewed.ResourceVersion = "2"
	taken.Spec.HolderIdentity = ptr(v1alpha1.SealedHolder)
	cut.Annotations = map[string]string{v1alpha1.CutOffAnnotation: "u"}
	if d := l.leaseDelay(a, renewed); d != eventually {
		t.Errorf("a renewal wakes the loop after %s", d)
	}
	if l.leaseDelay(a, taken) != promptly || l.leaseDelay(a, cut) != promptly || l.leaseDelay(nil, a) != promptly {
		t.Error("what is waited for is looked at late")
	}
	elsewhere := lease("peer-host1")
	elsewhere.Namespace = HeartbeatNamespace
	if l.leaseDelay(nil, lease(v1alpha1.LeaderLease)) >= 0 || l.leaseDelay(nil, elsewhere) >= 0 {
		t.Error("Leases that are not the peers' wake the loop")
	}
}
