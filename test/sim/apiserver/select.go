// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Selected are the objects that a field selector selects; nil: all. It knows
// the fields that Selvage selects by.
func Selected(objects []client.Object, selector fields.Selector) []client.Object {
	if selector == nil {
		return objects
	}
	var out []client.Object
	for _, o := range objects {
		wanted := true
		for _, r := range selector.Requirements() {
			switch pod, _ := o.(*corev1.Pod); {
			case r.Field == "metadata.name":
				wanted = wanted && o.GetName() == r.Value
			case r.Field == "spec.nodeName" && pod != nil:
				wanted = wanted && pod.Spec.NodeName == r.Value
			default:
				panic(fmt.Sprintf("apiserver: %T has no field selector %s", o, r.Field))
			}
		}
		if wanted {
			out = append(out, o)
		}
	}
	return out
}
