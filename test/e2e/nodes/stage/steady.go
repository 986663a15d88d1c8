// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Steady watches from now on, and the function that it returns says whether
// any Node was not Ready meanwhile, or any endpoint left a Service's slices or
// was not ready.
func (s *Stage) Steady(ctx context.Context) (func() error, error) {
	watcher, err := client.NewWithWatch(s.Config, client.Options{Scheme: s.Client.Scheme()})
	if err != nil {
		return nil, err
	}
	nodes, err := watcher.Watch(ctx, &corev1.NodeList{})
	if err != nil {
		return nil, err
	}
	slices, err := watcher.Watch(ctx, &discoveryv1.EndpointSliceList{})
	if err != nil {
		nodes.Stop()
		return nil, err
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- look(stop, nodes, slices) }()
	return func() error {
		close(stop)
		return <-done
	}, nil
}

func look(stop chan struct{}, nodes, slices watch.Interface) error {
	defer nodes.Stop()
	defer slices.Stop()
	var errs []error
	most := map[string]int{}
	for {
		select {
		case <-stop:
			return errors.Join(errs...)
		case event, ok := <-nodes.ResultChan():
			if !ok {
				return errors.Join(append(errs, errors.New("the watch of Nodes ended"))...)
			}
			if n, ok := event.Object.(*corev1.Node); ok {
				errs = append(errs, ready(n))
			}
		case event, ok := <-slices.ResultChan():
			if !ok {
				return errors.Join(append(errs, errors.New("the watch of EndpointSlices ended"))...)
			}
			if slice, ok := event.Object.(*discoveryv1.EndpointSlice); ok && slice.Namespace != Namespace {
				now := endpoints(slice)
				if most[slice.Name] > now {
					errs = append(errs, fmt.Errorf("%s went from %d ready endpoints to %d", slice.Name, most[slice.Name], now))
				}
				most[slice.Name] = max(most[slice.Name], now)
			}
		}
	}
}

func ready(n *corev1.Node) error {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Errorf("%s was not Ready: %s %s", n.Name, c.Reason, c.Message)
		}
	}
	return nil
}

func endpoints(slice *discoveryv1.EndpointSlice) (count int) {
	for _, e := range slice.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			count++
		}
	}
	return count
}
