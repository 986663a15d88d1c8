// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func slice(namespace string, ready ...bool) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "servers"}}
	for _, r := range ready {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: &r}})
	}
	return s
}

func nodeThatIs(status corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}},
	}}
}

// What Steady would miss, every test that rests on it would.
func TestSteady(t *testing.T) {
	for _, test := range []struct {
		name   string
		nodes  []*corev1.Node
		slices []*discoveryv1.EndpointSlice
		ends   bool
		want   string
	}{
		{name: "nothing happens"},
		{name: "all is well", nodes: []*corev1.Node{nodeThatIs(corev1.ConditionTrue)}, slices: []*discoveryv1.EndpointSlice{slice("default", true), slice("default", true, true)}},
		{name: "a node is not Ready", nodes: []*corev1.Node{nodeThatIs(corev1.ConditionUnknown), nodeThatIs(corev1.ConditionTrue)}, want: "node1 was not Ready"},
		{name: "an endpoint leaves", slices: []*discoveryv1.EndpointSlice{slice("default", true, true), slice("default", true), slice("default", true, true)}, want: "from 2 ready endpoints to 1"},
		{name: "an endpoint is not ready", slices: []*discoveryv1.EndpointSlice{slice("default", true, true), slice("default", true, false)}, want: "from 2 ready endpoints to 1"},
		{name: "our own go", slices: []*discoveryv1.EndpointSlice{slice(Namespace, true), slice(Namespace)}},
		{name: "the watch ends", ends: true, want: "the watch of Nodes ended"},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes, slices, stop, done := watch.NewFake(), watch.NewFake(), make(chan struct{}), make(chan error, 1)
			go func() { done <- look(stop, nodes, slices) }()
			for _, n := range test.nodes {
				nodes.Modify(n)
			}
			for _, s := range test.slices {
				slices.Modify(s)
			}
			if test.ends {
				nodes.Stop()
			} else {
				close(stop)
			}
			err := <-done
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, and should have been %q", err, test.want)
			}
		})
	}
}
