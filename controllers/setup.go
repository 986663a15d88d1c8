// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// Name is the controller's: in Events, metrics and leader election.
const Name = "selvage-controller"

// stuckAfter is when the health check gives a pass up: longer than any number
// of requests that time out one after the other in a cluster that works.
const stuckAfter = 10 * time.Minute

// Scheme knows every kind that the controller reads and writes.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// Mapper knows where in the API those kinds are without asking it, so that a
// controller that starts while the API server does not answer waits for it,
// instead of ending again and again and being started ever more rarely.
func Mapper(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	m := meta.NewDefaultRESTMapper(nil)
	for _, k := range []struct {
		of     schema.GroupVersion
		plural string
		scope  meta.RESTScope
		kind   string
	}{
		{v1alpha1.GroupVersion, "addresspools", meta.RESTScopeRoot, "AddressPool"},
		{v1alpha1.GroupVersion, "addressranges", meta.RESTScopeRoot, "AddressRange"},
		{v1alpha1.GroupVersion, "peers", meta.RESTScopeRoot, "Peer"},
		{v1alpha1.GroupVersion, "peerremovals", meta.RESTScopeRoot, "PeerRemoval"},
		{corev1.SchemeGroupVersion, "nodes", meta.RESTScopeRoot, "Node"},
		{corev1.SchemeGroupVersion, "pods", meta.RESTScopeNamespace, "Pod"},
		{coordinationv1.SchemeGroupVersion, "leases", meta.RESTScopeNamespace, "Lease"},
	} {
		// Caches ask for lists, too.
		for _, kind := range []string{k.kind, k.kind + "List"} {
			m.AddSpecific(k.of.WithKind(kind), k.of.WithResource(k.plural), k.of.WithResource(strings.ToLower(k.kind)), k.scope)
		}
	}
	return m, nil
}

// CacheOptions keep in memory what decisions need and no more: at 5,000 nodes
// there are some 150,000 pods.
func CacheOptions(namespace string) cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&coordinationv1.Lease{}: {Namespaces: map[string]cache.Config{namespace: {}, HeartbeatNamespace: {Transform: stripHeartbeat}}},
			&corev1.Node{}:          {Transform: stripNode},
			&corev1.Pod{}:           {Transform: stripPod},
		},
	}
}

// strippedMeta is what of an object's metadata is looked at.
func strippedMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		DeletionTimestamp: m.DeletionTimestamp,
	}
}

func stripPod(in any) (any, error) {
	p, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	out := &corev1.Pod{ObjectMeta: strippedMeta(&p.ObjectMeta)}
	if owner := metav1.GetControllerOf(p); owner != nil && owner.Kind == "DaemonSet" {
		yes := true
		out.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Controller: &yes}}
	}
	if _, static := p.Annotations[corev1.MirrorPodAnnotationKey]; static {
		out.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: ""}
	}
	out.Spec.NodeName, out.Spec.HostNetwork = p.Spec.NodeName, p.Spec.HostNetwork
	out.Status.Phase, out.Status.PodIPs = p.Status.Phase, p.Status.PodIPs
	return out, nil
}

func stripNode(in any) (any, error) {
	n, ok := in.(*corev1.Node)
	if !ok {
		return in, nil
	}
	out := &corev1.Node{ObjectMeta: strippedMeta(&n.ObjectMeta)}
	out.Labels = n.Labels
	out.Spec.Unschedulable, out.Spec.Taints = n.Spec.Unschedulable, n.Spec.Taints
	out.Status.Addresses = n.Status.Addresses
	return out, nil
}

func stripHeartbeat(in any) (any, error) {
	l, ok := in.(*coordinationv1.Lease)
	if !ok {
		return in, nil
	}
	out := &coordinationv1.Lease{ObjectMeta: strippedMeta(&l.ObjectMeta)}
	out.Spec.LeaseDurationSeconds = l.Spec.LeaseDurationSeconds
	return out, nil
}

// Options are what the loop needs beside a manager.
type Options struct {
	Namespace string
	Config    ownership.Config
	// Metrics is where the controller's own metrics are registered.
	Metrics prometheus.Registerer
	// Regressed ends this term of leadership; see [Loop].
	Regressed func(error)
	// SkipNameValidation lets more than one controller run in a process.
	SkipNameValidation bool
}

// Add makes the loop and gives it to the manager.
func Add(mgr manager.Manager, o Options) (*Loop, error) {
	announcer, err := newAnnouncer(mgr)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	l := &Loop{
		Reader: &Reader{Cached: mgr.GetClient(), Direct: mgr.GetAPIReader(), Namespace: o.Namespace},
		Applier: &Applier{
			Client: mgr.GetClient(), Namespace: o.Namespace, LeaseDuration: o.Config.LeaseDuration, Now: time.Now,
		},
		Announcer: announcer,
		Metrics:   NewMetrics(o.Metrics),
		Config:    o.Config,
		Regressed: o.Regressed,
		Clock:     func() time.Duration { return time.Since(started) },
	}
	ctl, err := controller.New(Name, mgr, controller.Options{
		Reconciler:              l,
		MaxConcurrentReconciles: 1,
		SkipNameValidation:      &o.SkipNameValidation,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, 15*time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("making the controller: %w", err)
	}
	for _, s := range l.Sources(mgr.GetCache()) {
		if err := ctl.Watch(s); err != nil {
			return nil, fmt.Errorf("watching %s: %w", s, err)
		}
	}
	if err := mgr.AddHealthzCheck("loop", func(*http.Request) error { return l.Alive(stuckAfter) }); err != nil {
		return nil, err
	}
	return l, mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache()))
}

// newAnnouncer raises core/v1 Events: their recorder keeps apart what differs
// in the message alone, such as two removals with one heir.
func newAnnouncer(mgr manager.Manager) (*Announcer, error) {
	clients, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("making the client for events: %w", err)
	}
	b := record.NewBroadcaster()
	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clients.CoreV1().Events("")})
		<-ctx.Done()
		b.Shutdown()
		return nil
	}))
	if err != nil {
		return nil, err
	}
	return &Announcer{Recorder: b.NewRecorder(mgr.GetScheme(), corev1.EventSource{Component: Name})}, nil
}

func cachesSynced(c cache.Cache) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("the caches are not complete yet")
		}
		return nil
	}
}
