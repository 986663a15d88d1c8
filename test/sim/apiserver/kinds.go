// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"reflect"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Kind is a kind of object, as the API server treats it.
type Kind struct {
	// Resource names it in errors.
	Resource  schema.GroupResource
	GroupKind schema.GroupKind
	// split: status is a resource of its own.
	split bool
	// whole: it may nevertheless be created with a status.
	whole bool
	// upsert: updating what is not there makes it, unless a uid is named.
	upsert bool
	// overwrite: an update needs no resourceVersion.
	overwrite bool
	// graceful: it is marked as deleted before it goes, finalizers or not.
	graceful bool
	// defaulted: its status has a default, which creation does not store.
	defaulted bool
	// setStatus gives one object another's status; nil: that of creation.
	setStatus func(to, from client.Object)
	// sameSpec compares what a generation counts; nil: there is none.
	sameSpec func(a, b client.Object) bool
	// differ tells two apart that differ as they most often do; nil: it cannot.
	differ func(a, b client.Object) bool
	// round leaves of times what JSON does; nil: it has none of its own.
	round func(client.Object)
}

// The kinds that Selvage reads and writes.
var (
	Pools = customKind("addresspools", "AddressPool", v1alpha1.AddressPoolStatus{ObservedGeneration: -1},
		func(o *v1alpha1.AddressPool) (any, *v1alpha1.AddressPoolStatus) { return &o.Spec, &o.Status },
		func(o *v1alpha1.AddressPool) { roundConditions(o.Status.Conditions) })
	Peers = customKind("peers", "Peer", v1alpha1.PeerStatus{ObservedGeneration: -1},
		func(o *v1alpha1.Peer) (any, *v1alpha1.PeerStatus) { return &o.Spec, &o.Status },
		func(o *v1alpha1.Peer) {
			roundConditions(o.Status.Conditions)
			if r := o.Status.Removal; r != nil {
				roundTimes(r.FencedTime, r.CompletionTime)
			}
		})
	Ranges = customKind("addressranges", "AddressRange", v1alpha1.AddressRangeStatus{},
		func(o *v1alpha1.AddressRange) (any, *v1alpha1.AddressRangeStatus) { return &o.Spec, &o.Status }, nil)
	Removals = customKind("peerremovals", "PeerRemoval", v1alpha1.PeerRemovalStatus{ObservedGeneration: -1},
		func(o *v1alpha1.PeerRemoval) (any, *v1alpha1.PeerRemovalStatus) { return &o.Spec, &o.Status },
		func(o *v1alpha1.PeerRemoval) {
			roundConditions(o.Status.Conditions)
			roundTimes(o.Status.FencedTime, o.Status.CompletionTime)
		})
	Nodes = &Kind{
		Resource: corev1.Resource("nodes"), GroupKind: schema.GroupKind{Kind: "Node"}, split: true, whole: true, overwrite: true,
		setStatus: func(to, from client.Object) { to.(*corev1.Node).Status = from.(*corev1.Node).Status },
	}
	Pods = &Kind{
		Resource: corev1.Resource("pods"), GroupKind: schema.GroupKind{Kind: "Pod"}, split: true, overwrite: true, graceful: true,
		setStatus: func(to, from client.Object) {
			status := corev1.PodStatus{Phase: corev1.PodPending}
			if from != nil {
				status = from.(*corev1.Pod).Status
			}
			to.(*corev1.Pod).Status = status
		},
		sameSpec: func(a, b client.Object) bool {
			return equality.Semantic.DeepEqual(&a.(*corev1.Pod).Spec, &b.(*corev1.Pod).Spec)
		},
	}
	Leases = &Kind{
		Resource:  schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"},
		GroupKind: schema.GroupKind{Group: coordinationv1.GroupName, Kind: "Lease"}, upsert: true,
		differ: func(a, b client.Object) bool {
			return !a.(*coordinationv1.Lease).Spec.RenewTime.Equal(b.(*coordinationv1.Lease).Spec.RenewTime)
		},
		round: func(o client.Object) {
			spec := &o.(*coordinationv1.Lease).Spec
			for _, t := range []*metav1.MicroTime{spec.AcquireTime, spec.RenewTime} {
				if t != nil {
					t.Time = t.Truncate(time.Microsecond)
				}
			}
		},
	}
	Events = &Kind{Resource: corev1.Resource("events"), GroupKind: schema.GroupKind{Kind: "Event"}, upsert: true, overwrite: true}
)

// Kinds are all of them, an order that never changes.
var Kinds = []*Kind{Pools, Peers, Ranges, Removals, Nodes, Pods, Leases, Events}

// customKind is one that has a CustomResourceDefinition; initial is the default
// of its status.
func customKind[T client.Object, S any](
	resource, kind string, initial S, parts func(T) (spec any, status *S), round func(T),
) *Kind {
	k := &Kind{
		Resource:  schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: resource},
		GroupKind: schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: kind},
		split:     true,
		defaulted: !reflect.ValueOf(initial).IsZero(),
		setStatus: func(to, from client.Object) {
			_, status := parts(to.(T))
			*status = *new(S)
			if from != nil {
				_, other := parts(from.(T))
				*status = *other
			}
			if reflect.ValueOf(status).Elem().IsZero() {
				*status = initial
			}
		},
		sameSpec: func(a, b client.Object) bool {
			spec, _ := parts(a.(T))
			other, _ := parts(b.(T))
			return equality.Semantic.DeepEqual(spec, other)
		},
	}
	if round != nil {
		k.round = func(o client.Object) { round(o.(T)) }
	}
	return k
}

func roundConditions(conditions []metav1.Condition) {
	for i := range conditions {
		roundTimes(&conditions[i].LastTransitionTime)
	}
}

func roundTimes(times ...*metav1.Time) {
	for _, t := range times {
		if t != nil {
			t.Time = t.Truncate(time.Second)
		}
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
