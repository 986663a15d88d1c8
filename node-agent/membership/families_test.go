// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/addresses"
)

func pool(cidr string, accepted metav1.ConditionStatus, selector *metav1.LabelSelector) v1alpha1.AddressPool {
	return v1alpha1.AddressPool{
		Spec:   v1alpha1.AddressPoolSpec{CIDR: cidr, NodeSelector: selector},
		Status: v1alpha1.AddressPoolStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: accepted}}},
	}
}

// TestFamilies: a pod of a dual-stack node waits for both of its addresses, and
// for none that the node will never have.
func TestFamilies(t *testing.T) {
	kept, err := slim(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"zone": "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	node := kept.(*corev1.Node)
	here := &metav1.LabelSelector{MatchLabels: map[string]string{"zone": "a"}}
	elsewhere := &metav1.LabelSelector{MatchLabels: map[string]string{"zone": "b"}}
	four := pool("10.32.0.0/12", metav1.ConditionTrue, nil)
	for name, c := range map[string]struct {
		view View
		want addresses.Families
	}{
		"no pool":             {View{Node: node}, 0},
		"the node is unknown": {View{Pools: []v1alpha1.AddressPool{four}}, 0},
		"one":                 {View{Node: node, Pools: []v1alpha1.AddressPool{four}}, addresses.V4},
		"both":                {View{Node: node, Pools: []v1alpha1.AddressPool{four, pool("fd00::/104", metav1.ConditionTrue, here)}}, addresses.V4 | addresses.V6},
		"another node's":      {View{Node: node, Pools: []v1alpha1.AddressPool{four, pool("fd00::/104", metav1.ConditionTrue, elsewhere)}}, addresses.V4},
		"not accepted":        {View{Node: node, Pools: []v1alpha1.AddressPool{four, pool("fd00::/104", metav1.ConditionFalse, nil)}}, addresses.V4},
	} {
		if got := c.view.families(); got != c.want {
			t.Errorf("%s: %s, expected %s", name, got, c.want)
		}
	}
}
