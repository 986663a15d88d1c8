// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package survey reads what an inventory is made of: the only way from the
// cluster to a command's answer.
package survey

import (
	"context"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Read lists the parts, uncached and consistently, in the order given. A part
// that cannot be read is noted in the State's Unread and does not keep the
// others from being read: partial permission is normal.
func Read(ctx context.Context, c client.Reader, namespace string, parts ...inventory.Part) *inventory.State {
	s := inventory.New(namespace, parts...)
	for _, p := range parts {
		if err := read(ctx, c, s, p); err != nil {
			s.Unread[p] = err
		}
	}
	return s
}

func read(ctx context.Context, c client.Reader, s *inventory.State, p inventory.Part) (err error) {
	switch p {
	case inventory.Pools:
		var l v1alpha1.AddressPoolList
		err = c.List(ctx, &l)
		s.Pools = l.Items
	case inventory.Peers:
		var l v1alpha1.PeerList
		err = c.List(ctx, &l)
		s.Peers = l.Items
	case inventory.Ranges:
		var l v1alpha1.AddressRangeList
		err = c.List(ctx, &l)
		s.Ranges = l.Items
		inventory.SortRanges(s.Ranges)
	case inventory.Removals:
		var l v1alpha1.PeerRemovalList
		err = c.List(ctx, &l)
		s.Removals = l.Items
	case inventory.Leases:
		err = readLeases(ctx, c, s)
	case inventory.Nodes:
		var l corev1.NodeList
		err = c.List(ctx, &l)
		s.Nodes = l.Items
	case inventory.Pods:
		var l corev1.PodList
		err = c.List(ctx, &l)
		s.Pods = l.Items
	}
	return err
}

func readLeases(ctx context.Context, c client.Reader, s *inventory.State) error {
	var l coordinationv1.LeaseList
	if err := c.List(ctx, &l, client.InNamespace(s.Namespace)); err != nil {
		return err
	}
	s.Leases = make(map[string]coordinationv1.Lease, len(l.Items))
	for i, lease := range l.Items {
		if lease.Name == v1alpha1.LeaderLease {
			s.Leader = &l.Items[i]
		}
		if peer, ok := strings.CutPrefix(lease.Name, v1alpha1.LeasePrefix); ok {
			s.Leases[peer] = lease
		}
	}
	return nil
}
