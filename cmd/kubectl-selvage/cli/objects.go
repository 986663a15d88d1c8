// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// peerList is what kubectl get would print: one object if one was named, else
// a List.
func peerList(peers []v1alpha1.Peer, single bool) runtime.Object {
	for i := range peers {
		peers[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Peer"))
	}
	if single {
		return &peers[0]
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for i := range peers {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&peers[i])
		if err != nil {
			panic(err) // cannot happen: it came from the API server
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: content})
	}
	return list
}

// removalObject gives a PeerRemoval its kind, which a typed client leaves out.
func removalObject(r *v1alpha1.PeerRemoval) runtime.Object {
	r.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PeerRemoval"))
	return r
}
