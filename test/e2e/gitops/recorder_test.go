// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kinds are Selvage's.
var kinds = []string{"AddressPool", "AddressRange", "Peer", "PeerRemoval"}

// recorder keeps each version of each object of Selvage's.
type recorder struct {
	mu       sync.Mutex
	versions []*unstructured.Unstructured
	watches  []watch.Interface
	reading  sync.WaitGroup
	// ended says that a watch has.
	ended bool
}

func record(config *rest.Config) (*recorder, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 0 // a watch has no end
	watcher, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("making a client that watches: %w", err)
	}
	r := &recorder{}
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "net.selvage.dev", Version: "v1alpha1", Kind: kind + "List"})
		w, err := watcher.Watch(context.Background(), list)
		if err != nil {
			r.stop()
			return nil, fmt.Errorf("watching %s: %w", kind, err)
		}
		r.watches = append(r.watches, w)
		r.reading.Go(func() { r.read(w) })
	}
	return r, nil
}

func (r *recorder) read(w watch.Interface) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = true
	}()
	for event := range w.ResultChan() {
		if o, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watch.Deleted {
			r.mu.Lock()
			r.versions = append(r.versions, o)
			r.mu.Unlock()
		}
	}
}

func (r *recorder) stop() {
	for _, w := range r.watches {
		w.Stop()
	}
	r.reading.Wait()
}

// all are the versions of a kind so far.
func (r *recorder) all(kind string) []*unstructured.Unstructured {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		panic("a watch has ended: not all versions were seen")
	}
	return slices.DeleteFunc(slices.Clone(r.versions), func(o *unstructured.Unstructured) bool { return o.GetKind() != kind })
}
