// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// kind is a kind of object and how the API server treats it.
type kind struct {
	name  string
	draft func(i int) client.Object
	list  func() client.ObjectList
	// want changes what is wanted of an object, once.
	want func(client.Object)
	// report writes a number into the status, reported reads it; nil: there is
	// no status.
	report   func(client.Object, int)
	reported func(client.Object) int
	traits
}

// traits are in what the kinds differ.
type traits struct {
	// born is the generation that an object begins with; 0: it has none.
	born int64
	// custom: it has a CustomResourceDefinition.
	custom bool
	// overwrites: an update without a resourceVersion is taken.
	overwrites bool
	// upserts: an update makes what is not there.
	upserts bool
	// keepsStatus: an object may be created with a status.
	keepsStatus bool
	// graceful: it is marked as deleted before it goes.
	graceful   bool
	namespaced bool
}

func of[T client.Object](name string, t traits, list func() client.ObjectList, draft func(int) T, want func(T)) kind {
	return kind{
		name: name, traits: t, list: list,
		draft: func(i int) client.Object { return draft(i) },
		want:  func(o client.Object) { want(o.(T)) },
	}
}

func reporting[T client.Object](k kind, report func(T, int), reported func(T) int) kind {
	k.report = func(o client.Object, n int) { report(o.(T), n) }
	k.reported = func(o client.Object) int { return reported(o.(T)) }
	return k
}

var (
	custom     = traits{custom: true, born: 1}
	namespaced = func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: Namespace, Name: name} }
)

var kinds = []kind{
	reporting(of("AddressPool", custom,
		func() client.ObjectList { return &v1alpha1.AddressPoolList{} },
		func(i int) *v1alpha1.AddressPool {
			return &v1alpha1.AddressPool{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pool-%d", i)}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.0.0.0/8"},
			}
		},
		func(o *v1alpha1.AddressPool) { o.Spec.RangePrefixLength = new(int32(26)) }),
		func(o *v1alpha1.AddressPool, n int) { o.Status.ObservedGeneration = int64(n) },
		func(o *v1alpha1.AddressPool) int { return int(o.Status.ObservedGeneration) }),

	reporting(of("Peer", custom,
		func() client.ObjectList { return &v1alpha1.PeerList{} },
		func(i int) *v1alpha1.Peer {
			name := fmt.Sprintf("peer-%d", i)
			return &v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.PeerSpec{NodeName: name, InstanceID: "instance-1"}}
		},
		func(o *v1alpha1.Peer) { o.Spec.NodeUID = "node-2" }),
		func(o *v1alpha1.Peer, n int) { o.Status.ObservedGeneration = int64(n) },
		func(o *v1alpha1.Peer) int { return int(o.Status.ObservedGeneration) }),

	reporting(of("AddressRange", custom,
		func() client.ObjectList { return &v1alpha1.AddressRangeList{} },
		func(i int) *v1alpha1.AddressRange {
			first := fmt.Sprintf("10.%d.%d.0", i/256, i%256)
			return &v1alpha1.AddressRange{ObjectMeta: metav1.ObjectMeta{Name: first}, Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: first + "/24"}}
		},
		func(o *v1alpha1.AddressRange) { o.Spec.Keep = new("") }),
		func(o *v1alpha1.AddressRange, n int) { o.Status.Used = int64(n) },
		func(o *v1alpha1.AddressRange) int { return int(o.Status.Used) }),

	reporting(of("PeerRemoval", custom,
		func() client.ObjectList { return &v1alpha1.PeerRemovalList{} },
		func(i int) *v1alpha1.PeerRemoval {
			return &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("peer-%d", i)}}
		},
		func(o *v1alpha1.PeerRemoval) { o.Spec.AssertDown = true }),
		func(o *v1alpha1.PeerRemoval, n int) { o.Status.ObservedGeneration = int64(n) },
		func(o *v1alpha1.PeerRemoval) int { return int(o.Status.ObservedGeneration) }),

	reporting(of("Node", traits{overwrites: true, keepsStatus: true},
		func() client.ObjectList { return &corev1.NodeList{} },
		func(i int) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}}
		},
		func(o *corev1.Node) { o.Spec.Unschedulable = true }),
		func(o *corev1.Node, n int) { o.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(n) },
		func(o *corev1.Node) int { return int(o.Status.DaemonEndpoints.KubeletEndpoint.Port) }),

	reporting(of("Pod", traits{namespaced: true, overwrites: true, graceful: true, born: 1},
		func() client.ObjectList { return &corev1.PodList{} },
		func(i int) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: namespaced(fmt.Sprintf("pod-%d", i)), Spec: corev1.PodSpec{
				NodeName: fmt.Sprintf("node-%d", i), Containers: []corev1.Container{{Name: "main", Image: "none.invalid/none"}},
			}}
		},
		func(o *corev1.Pod) { o.Spec.Containers[0].Image = "none.invalid/other" }),
		func(o *corev1.Pod, n int) { o.Status.ObservedGeneration = int64(n) },
		func(o *corev1.Pod) int { return int(o.Status.ObservedGeneration) }),

	of("Lease", traits{namespaced: true, upserts: true},
		func() client.ObjectList { return &coordinationv1.LeaseList{} },
		func(i int) *coordinationv1.Lease {
			return &coordinationv1.Lease{ObjectMeta: namespaced(fmt.Sprintf("lease-%d", i))}
		},
		func(o *coordinationv1.Lease) { o.Spec.LeaseDurationSeconds = new(int32(40)) }),

	of("Event", traits{namespaced: true, upserts: true, overwrites: true},
		func() client.ObjectList { return &corev1.EventList{} },
		func(i int) *corev1.Event {
			return &corev1.Event{ObjectMeta: namespaced(fmt.Sprintf("event-%d", i)), InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: "node-1"}}
		},
		func(o *corev1.Event) { o.Message = "something has happened" }),
}

func isCustom(k kind) bool   { return k.custom }
func hasStatus(k kind) bool  { return k.report != nil }
func isCounted(k kind) bool  { return k.born > 0 }
func upserts(k kind) bool    { return k.upserts }
func isNot(k kind) bool      { return !k.upserts }
func overwrites(k kind) bool { return k.overwrites }
func demands(k kind) bool    { return !k.overwrites }

// defaults: its status has a default.
func defaults(k kind) bool { return k.custom && k.name != "AddressRange" }

func named(names ...string) func(kind) bool {
	return func(k kind) bool {
		for _, n := range names {
			if k.name == n {
				return true
			}
		}
		return false
	}
}
