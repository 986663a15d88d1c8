// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
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

	pulse *pulse
	asker client.Client
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
	f.pulse = newPulse(c.HTTP.Transport, f.tell)
	listening := *c.HTTP
	listening.Transport = f.pulse
	var err error
	if f.asker, err = client.New(c.Config, client.Options{HTTPClient: &listening, Scheme: c.Scheme, Mapper: c.Mapper}); err != nil {
		return nil, err
	}
	f.cache, err = cache.New(c.Config, cache.Options{
		HTTPClient: &listening, Scheme: c.Scheme, Mapper: c.Mapper,
		ByObject: map[client.Object]cache.ByObject{
			&coordinationv1.Lease{}: {Namespaces: map[string]cache.Config{first.Namespace: {}}},
		},
		// The pulse has seen it, and client-go begins anew by itself.
		DefaultWatchErrorHandler: func(context.Context, *toolscache.Reflector, error) {},
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

// Read is what there is now. A cache lists in no order; the API server, by name.
func (f *Follower) Read(ctx context.Context) *inventory.State {
	s := Read(ctx, f.cache, f.namespace, f.parts...)
	slices.SortFunc(s.Pools, func(a, b v1alpha1.AddressPool) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Peers, func(a, b v1alpha1.Peer) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Removals, func(a, b v1alpha1.PeerRemoval) int { return strings.Compare(a.Name, b.Name) })
	for part, err := range f.unread {
		s.Unread[part] = err
	}
	return s
}

// Lost says since when, and why, something is not heard of, or returns nil.
func (f *Follower) Lost() (time.Time, error) {
	lost, _ := f.pulse.state()
	return lost.since, lost.why
}

// Heard is when the API server last answered, or a watch last brought something.
func (f *Follower) Heard() time.Time {
	_, heard := f.pulse.state()
	return heard
}

// Ask asks the API server for something small, so that Heard and Lost say how
// it is now: where nothing happens, watches are silent, and so they are where
// the network swallows them.
func (f *Follower) Ask(ctx context.Context) error {
	return f.asker.List(ctx, &v1alpha1.PeerList{}, client.Limit(1))
}

func (f *Follower) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.tell() },
		UpdateFunc: func(_, _ any) { f.tell() },
		DeleteFunc: func(any) { f.tell() },
	}
}

func (f *Follower) tell() {
	select {
	case f.Changed <- struct{}{}:
	default: // it will look anyhow
	}
}
