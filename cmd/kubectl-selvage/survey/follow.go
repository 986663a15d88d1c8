// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Cluster is how a cluster is reached.
type Cluster struct {
	Config *rest.Config
	HTTP   *http.Client
	Scheme *runtime.Scheme
	Mapper meta.RESTMapper
}

// Follower reads the same parts again and again, from watches instead of a
// LIST each time.
type Follower struct {
	cache     cache.Cache
	namespace string
	parts     []inventory.Part
	unread    map[inventory.Part]error
	// Changed receives when something has changed since it last did.
	Changed chan struct{}

	mu   sync.Mutex
	lost error
	when time.Time
}

// Follow begins to watch the parts of first, as far as those could be read,
// and returns once all are there. It ends with ctx.
func Follow(ctx context.Context, c Cluster, first *inventory.State, parts ...inventory.Part) (*Follower, error) {
	f := &Follower{namespace: first.Namespace, unread: first.Unread, Changed: make(chan struct{}, 1)}
	for _, p := range parts {
		if _, unread := first.Unread[p]; !unread {
			f.parts = append(f.parts, p)
		}
	}
	var err error
	f.cache, err = cache.New(c.Config, cache.Options{
		HTTPClient: c.HTTP, Scheme: c.Scheme, Mapper: c.Mapper,
		ByObject: map[client.Object]cache.ByObject{
			&coordinationv1.Lease{}: {Namespaces: map[string]cache.Config{first.Namespace: {}}},
		},
		DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) { f.broken(err) },
	})
	if err != nil {
		return nil, err
	}
	go func() { _ = f.cache.Start(ctx) }() // fails only where it was started before
	for _, p := range f.parts {
		informer, err := f.cache.GetInformer(ctx, kinds[p])
		if err == nil {
			_, err = informer.AddEventHandler(f.handler())
		}
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", p, err)
		}
	}
	return f, nil
}

// kinds are the objects of the parts that can be followed.
var kinds = map[inventory.Part]client.Object{
	inventory.Pools: &v1alpha1.AddressPool{}, inventory.Peers: &v1alpha1.Peer{}, inventory.Ranges: &v1alpha1.AddressRange{},
	inventory.Removals: &v1alpha1.PeerRemoval{}, inventory.Leases: &coordinationv1.Lease{},
	inventory.Nodes: &corev1.Node{}, inventory.Pods: &corev1.Pod{},
}

// Read is what there is now.
func (f *Follower) Read(ctx context.Context) *inventory.State {
	s := Read(ctx, f.cache, f.namespace, f.parts...)
	for part, err := range f.unread {
		s.Unread[part] = err
	}
	return s
}

// Lost says since when, and why, nothing has been heard, or returns nil.
func (f *Follower) Lost() (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.when, f.lost
}

func (f *Follower) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.heard() },
		UpdateFunc: func(_, _ any) { f.heard() },
		DeleteFunc: func(any) { f.heard() },
	}
}

func (f *Follower) heard() {
	f.mu.Lock()
	f.lost = nil
	f.mu.Unlock()
	f.tell()
}

// broken notes that a watch has ended for a reason. One that is merely too
// old, or has run its time, is begun anew by itself.
func (f *Follower) broken(err error) {
	if errors.Is(err, io.EOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	f.mu.Lock()
	if f.lost == nil {
		f.when = time.Now()
	}
	f.lost = err
	f.mu.Unlock()
	f.tell()
}

func (f *Follower) tell() {
	select {
	case f.Changed <- struct{}{}:
	default: // it will look anyhow
	}
}
