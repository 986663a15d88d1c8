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
func (l *Loop) Sources(c cache.Cache) (sources []source.Source) {
	for _, o := range []client.Object{
		&v1alpha1.AddressPool{}, &v1alpha1.AddressRange{}, &v1alpha1.Peer{}, &v1alpha1.PeerRemoval{},
		&coordinationv1.Lease{}, &corev1.Node{}, &corev1.Pod{},
	} {
		sources = append(sources, source.Kind(c, o, l.wake()))
	}
	return sources
}

// Delay is how long a change may wait to be looked at; negative: it is no
// matter. was is nil unless the object was there before and is still there.
func (l *Loop) Delay(was, is client.Object) time.Duration {
	d := promptly
	switch is.(type) {
	case *coordinationv1.Lease:
		d = l.leaseDelay(was, is)
	case *corev1.Node:
		d = nodeDelay(was, is)
	case *corev1.Pod:
		d = podDelay(was, is)
	}
	if d < 0 {
		return d
	}
	// Later if a pass takes long: the loop may use a third of one processor,
	// not all of it.
	return max(d, 2*time.Duration(l.lasted.Load()))
}

// wake puts the loop into the queue.
func (l *Loop) wake() handler.EventHandler {
	add := func(q workqueue.TypedRateLimitingInterface[reconcile.Request], was, is client.Object) {
		if d := l.Delay(was, is); d >= 0 {
			q.AddAfter(theLoop, d)
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
