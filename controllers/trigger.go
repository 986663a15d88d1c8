// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// How long a change may wait for others, to be looked at together with them.
const (
	// promptly: what somebody waits for.
	promptly = 20 * time.Millisecond
	// shortly: pods, of which there are many.
	shortly = time.Second
	// eventually: renewals, which matter only by their absence.
	eventually = 5 * time.Second
)

// theLoop is the only thing in the queue: everything is looked at together.
var theLoop = reconcile.Request{NamespacedName: types.NamespacedName{Name: "cluster"}}

// Sources are the watches that wake the loop.
func (l *Loop) Sources(c cache.Cache) []source.Source {
	ours := func(_, _ client.Object) time.Duration { return promptly }
	return []source.Source{
		source.Kind[client.Object](c, &v1alpha1.AddressPool{}, l.wake(ours)),
		source.Kind[client.Object](c, &v1alpha1.AddressRange{}, l.wake(ours)),
		source.Kind[client.Object](c, &v1alpha1.Peer{}, l.wake(ours)),
		source.Kind[client.Object](c, &v1alpha1.PeerRemoval{}, l.wake(ours)),
		source.Kind[client.Object](c, &coordinationv1.Lease{}, l.wake(l.leaseDelay)),
		source.Kind[client.Object](c, &corev1.Node{}, l.wake(nodeDelay)),
		source.Kind[client.Object](c, &corev1.Pod{}, l.wake(podDelay)),
	}
}

// wake puts the loop into the queue once delay has passed, or later if a pass
// takes long: the loop may use a third of one processor, not all of it. was is
// nil unless the object is updated; a negative delay: it is no matter.
func (l *Loop) wake(delay func(was, is client.Object) time.Duration) handler.EventHandler {
	add := func(q workqueue.TypedRateLimitingInterface[reconcile.Request], was, is client.Object) {
		if d := delay(was, is); d >= 0 {
			q.AddAfter(theLoop, max(d, 2*time.Duration(l.lasted.Load())))
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q, nil, e.Object)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q, e.ObjectOld, e.ObjectNew)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q, nil, e.Object)
		},
	}
}

// leaseDelay: that a Lease is taken, sealed, deleted or reports a cut-off is
// waited for; a renewal is not, nor are the kubelets' and the leader's Leases.
func (l *Loop) leaseDelay(was, is client.Object) time.Duration {
	lease := is.(*coordinationv1.Lease)
	now, ok := toLease(lease)
	if !ok || lease.Namespace != l.Reader.Namespace {
		return -1
	}
	if was == nil {
		return promptly
	}
	before, _ := toLease(was.(*coordinationv1.Lease))
	if before.Holder != now.Holder || !slices.Equal(before.CutOff, now.CutOff) || before.Term != now.Term || before.Duration != now.Duration {
		return promptly
	}
	return eventually
}

func nodeDelay(was, is client.Object) time.Duration {
	if was == nil {
		return promptly
	}
	a, b := was.(*corev1.Node), is.(*corev1.Node)
	if reflect.DeepEqual(toNode(a), toNode(b)) && maps.Equal(a.Labels, b.Labels) {
		return -1
	}
	return promptly
}

func podDelay(was, is client.Object) time.Duration {
	if was == nil {
		return shortly
	}
	a, okA := toPod(was.(*corev1.Pod))
	b, okB := toPod(is.(*corev1.Pod))
	if okA == okB && slices.Equal(a.Addresses, b.Addresses) {
		return -1
	}
	return shortly
}
