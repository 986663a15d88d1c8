// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Kind is a kind of object, as the API server treats it.
type Kind struct {
	// Resource names it in errors.
	Resource schema.GroupResource
	kind     schema.GroupKind
	// custom: it has a CustomResourceDefinition, with what that entails: a
	// resourceVersion for each update, and a generation that counts changes of
	// the spec.
	custom bool
	// split: status is a resource of its own.
	split bool
	// upsert: updating what is not there makes it, unless a uid is named.
	upsert bool
	// setStatus gives one object another's status; nil: none.
	setStatus func(to, from client.Object)
	// sameSpec compares what a generation counts.
	sameSpec func(a, b client.Object) bool
}

// The kinds that Selvage reads and writes.
var (
	Pools    = customKind("addresspools", "AddressPool", func(o *v1alpha1.AddressPool) (any, *v1alpha1.AddressPoolStatus) { return &o.Spec, &o.Status })
	Peers    = customKind("peers", "Peer", func(o *v1alpha1.Peer) (any, *v1alpha1.PeerStatus) { return &o.Spec, &o.Status })
	Ranges   = customKind("addressranges", "AddressRange", func(o *v1alpha1.AddressRange) (any, *v1alpha1.AddressRangeStatus) { return &o.Spec, &o.Status })
	Removals = customKind("peerremovals", "PeerRemoval", func(o *v1alpha1.PeerRemoval) (any, *v1alpha1.PeerRemovalStatus) { return &o.Spec, &o.Status })
	Nodes    = &Kind{
		Resource: corev1.Resource("nodes"), kind: schema.GroupKind{Kind: "Node"}, split: true,
		setStatus: func(to, from client.Object) { to.(*corev1.Node).Status = from.(*corev1.Node).Status },
	}
	Pods = &Kind{
		Resource: corev1.Resource("pods"), kind: schema.GroupKind{Kind: "Pod"}, split: true,
		setStatus: func(to, from client.Object) { to.(*corev1.Pod).Status = from.(*corev1.Pod).Status },
	}
	Leases = &Kind{
		Resource: schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"},
		kind:     schema.GroupKind{Group: coordinationv1.GroupName, Kind: "Lease"}, upsert: true,
	}
	Events = &Kind{Resource: corev1.Resource("events"), kind: schema.GroupKind{Kind: "Event"}}
)

// Kinds are all of them, an order that never changes.
var Kinds = []*Kind{Pools, Peers, Ranges, Removals, Nodes, Pods, Leases, Events}

func customKind[T client.Object, S any](resource, kind string, parts func(T) (spec any, status *S)) *Kind {
	return &Kind{
		Resource: schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: resource},
		kind:     schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: kind},
		custom:   true, split: true,
		setStatus: func(to, from client.Object) {
			_, status := parts(to.(T))
			if from == nil {
				*status = *new(S)
				return
			}
			_, other := parts(from.(T))
			*status = *other
		},
		sameSpec: func(a, b client.Object) bool {
			spec, _ := parts(a.(T))
			other, _ := parts(b.(T))
			return equality.Semantic.DeepEqual(spec, other)
		},
	}
}

// KindOf is the kind of an object. Another than those above is a bug of the
// caller's.
func KindOf(o client.Object) *Kind {
	switch o.(type) {
	case *v1alpha1.AddressPool:
		return Pools
	case *v1alpha1.Peer:
		return Peers
	case *v1alpha1.AddressRange:
		return Ranges
	case *v1alpha1.PeerRemoval:
		return Removals
	case *corev1.Node:
		return Nodes
	case *corev1.Pod:
		return Pods
	case *coordinationv1.Lease:
		return Leases
	case *corev1.Event:
		return Events
	}
	panic(fmt.Sprintf("apiserver: %T is not simulated", o))
}
