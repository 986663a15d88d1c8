// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Watches keeps a View up to date by watching the API: all Peers, ranges and
// pools, and the Node and the PeerRemoval of this name alone. What is of no
// use is not kept.
type Watches struct {
	name     string
	make     func() (cache.Cache, error)
	cache    atomic.Pointer[cache.Cache]
	complete atomic.Bool
	stale    chan struct{}
}

// NewWatches returns Watches that have not begun.
func NewWatches(config *rest.Config, scheme *runtime.Scheme, mapper meta.RESTMapper, name string) (*Watches, error) {
	mine := fields.OneTermEqualSelector("metadata.name", name)
	shared := true
	w := &Watches{name: name, stale: make(chan struct{}, 1), make: func() (cache.Cache, error) {
		return cache.New(config, cache.Options{
			Scheme: scheme, Mapper: mapper, DefaultTransform: slim, DefaultUnsafeDisableDeepCopy: &shared,
			ReaderFailOnMissingInformer: true,
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Node{}:          {Field: mine},
				&v1alpha1.PeerRemoval{}: {Field: mine},
			},
		})
	}}
	return w, w.renew()
}

// renew puts an empty cache in the place of the one before.
func (w *Watches) renew() error {
	c, err := w.make()
	if err != nil {
		return fmt.Errorf("preparing to watch the API: %w", err)
	}
	w.complete.Store(false)
	w.cache.Store(&c)
	return nil
}

// Reset has everything read anew. After etcd was restored from a backup watches
// go on from a revision that is yet to come: they miss what happens until then,
// and for ever that something is gone.
func (w *Watches) Reset() {
	w.complete.Store(false)
	select {
	case w.stale <- struct{}{}:
	default:
	}
}

// slim drops what nobody here reads.
func slim(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
		m.SetAnnotations(nil)
		if _, node := object.(*corev1.Node); !node { // whose labels say which pools it draws from
			m.SetLabels(nil)
		}
	}
	switch o := object.(type) {
	case *v1alpha1.Peer:
		o.Status.Conditions = nil
	case *v1alpha1.PeerRemoval:
		o.Status = v1alpha1.PeerRemovalStatus{}
	case *corev1.Node:
		o.Spec = corev1.NodeSpec{}
		o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses}
	}
	return object, nil
}

// Run watches until ctx ends.
func (w *Watches) Run(ctx context.Context, changed func()) error {
	for {
		if err := w.watch(ctx, changed); err != nil || ctx.Err() != nil {
			return err
		}
		if err := w.renew(); err != nil {
			return err
		}
	}
}

// watch watches with one cache, until it is of no use any more.
func (w *Watches) watch(ctx context.Context, changed func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := *w.cache.Load()
	for _, kind := range []client.Object{
		&v1alpha1.Peer{}, &v1alpha1.AddressRange{}, &v1alpha1.AddressPool{}, &v1alpha1.PeerRemoval{}, &corev1.Node{},
	} {
		informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", kind, err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { changed() },
			DeleteFunc: func(any) { changed() },
			UpdateFunc: func(before, after any) {
				if Matters(w.name, before, after) {
					changed()
				}
			},
		})
		if err != nil {
			return fmt.Errorf("watching %T: %w", kind, err)
		}
	}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		if c.WaitForCacheSync(ctx) {
			w.complete.Store(true)
			changed()
		}
	})
	waiting.Go(func() {
		defer stop()
		select {
		case <-w.stale:
		case <-ctx.Done():
		}
	})
	defer stop()
	return c.Start(ctx)
}

// Matters reports whether an update may change what the agent of that name does:
// of other peers only what is routed to, of other ranges only who owns what.
func Matters(name string, before, after any) bool {
	switch was := before.(type) {
	case *v1alpha1.Peer:
		is, ok := after.(*v1alpha1.Peer)
		return !ok || is.Name == name || is.UID != was.UID || is.Generation != was.Generation ||
			is.Status.Phase != was.Status.Phase || !reflect.DeepEqual(is.Status.Underlay, was.Status.Underlay) ||
			vtepOf(is) != vtepOf(was)
	case *v1alpha1.AddressRange:
		is, ok := after.(*v1alpha1.AddressRange)
		return !ok || is.UID != was.UID || is.Generation != was.Generation || ownerName(is) == name
	case *corev1.Node:
		is, ok := after.(*corev1.Node)
		return !ok || is.UID != was.UID || !reflect.DeepEqual(is.Status.Addresses, was.Status.Addresses)
	case metav1.Object:
		is, ok := after.(metav1.Object)
		return !ok || is.GetResourceVersion() != was.GetResourceVersion()
	}
	return true
}

func vtepOf(p *v1alpha1.Peer) string {
	if p.Status.Agent == nil {
		return ""
	}
	return p.Status.Agent.VTEP
}

func ownerName(r *v1alpha1.AddressRange) string {
	if r.Spec.Owner == nil {
		return ""
	}
	return r.Spec.Owner.Name
}

// View is the view, once all of it has been read.
func (w *Watches) View(ctx context.Context) (View, bool) {
	if !w.complete.Load() {
		return View{}, false
	}
	v, err := look(ctx, *w.cache.Load(), w.name, false)
	return v, err == nil
}
