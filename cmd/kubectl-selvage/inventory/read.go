// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"context"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Read lists the parts, uncached and consistently. A part that cannot be read
// is noted in the State's Unread and does not keep the others from being read:
// partial permission is normal. Only a dead context ends it early.
func Read(ctx context.Context, c client.Reader, namespace string, parts ...Part) *State {
	s := &State{Unread: map[Part]error{}, Namespace: namespace, asked: map[Part]bool{}}
	for _, p := range parts {
		s.asked[p] = true
		if err := s.read(ctx, c, p); err != nil {
			s.Unread[p] = err
		}
	}
	return s
}

func (s *State) read(ctx context.Context, c client.Reader, p Part) error {
	switch p {
	case Pools:
		var l v1alpha1.AddressPoolList
		err := c.List(ctx, &l)
		s.Pools = l.Items
		return err
	case Peers:
		var l v1alpha1.PeerList
		err := c.List(ctx, &l)
		s.Peers = l.Items
		return err
	case Ranges:
		return s.readRanges(ctx, c)
	case Removals:
		var l v1alpha1.PeerRemovalList
		err := c.List(ctx, &l)
		s.Removals = l.Items
		return err
	case Leases:
		return s.readLeases(ctx, c)
	case Nodes:
		var l corev1.NodeList
		err := c.List(ctx, &l)
		s.Nodes = l.Items
		return err
	default:
		var l corev1.PodList
		err := c.List(ctx, &l)
		s.Pods = l.Items
		return err
	}
}

// readRanges sorts by address, where the API sorts by name: 10.9.0.0 comes
// before 10.32.0.0.
func (s *State) readRanges(ctx context.Context, c client.Reader) error {
	var l v1alpha1.AddressRangeList
	err := c.List(ctx, &l)
	s.Ranges = l.Items
	slices.SortFunc(s.Ranges, func(a, b v1alpha1.AddressRange) int {
		pa, pb := Prefix(a.Spec.CIDR), Prefix(b.Spec.CIDR)
		return cmp.Or(pa.Addr().Compare(pb.Addr()), cmp.Compare(pa.Bits(), pb.Bits()))
	})
	return err
}

func (s *State) readLeases(ctx context.Context, c client.Reader) error {
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
