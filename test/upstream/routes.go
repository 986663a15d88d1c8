// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// routeAPIServer lets the API server reach pods, which its proxy does. Its
// machine is no node and so has no agent: as a router in front of a cluster
// would, it is told which node has which range, as long as ctx lives.
func (s *stage) routeAPIServer(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("watching ranges: %w", err)
	}
	ranges, err := ctrlcache.New(s.cluster.Config, ctrlcache.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("watching ranges: %w", err)
	}
	informer, err := ranges.GetInformer(ctx, &v1alpha1.AddressRange{})
	if err != nil {
		return fmt.Errorf("watching ranges: %w", err)
	}
	set := func(object any) {
		if err := s.routeTo(object); err != nil {
			fmt.Fprintln(s.out, "error:", err)
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: set, UpdateFunc: func(_, now any) { set(now) }}
	registration, err := informer.AddEventHandler(handler)
	if err != nil {
		return fmt.Errorf("watching ranges: %w", err)
	}
	go func() {
		if err := ranges.Start(ctx); err != nil {
			fmt.Fprintln(s.out, "error: watching ranges:", err)
		}
	}()
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return fmt.Errorf("watching ranges: %w", ctx.Err())
	}
	return nil
}

func (s *stage) routeTo(object any) error {
	r, ok := object.(*v1alpha1.AddressRange)
	if !ok || r.Spec.Owner == nil {
		return nil
	}
	// A peer is named after its node.
	owner, err := s.cluster.Node(r.Spec.Owner.Name)
	if err != nil {
		return err
	}
	cidr, err := netip.ParsePrefix(r.Spec.CIDR)
	if err != nil {
		return err
	}
	return s.cluster.Route(cidr, owner)
}
