// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Owned are the ranges of a peer.
func (s *Stage) Owned(ctx context.Context, peer string) (owned []netip.Prefix, err error) {
	var list v1alpha1.AddressRangeList
	if err := s.Client.List(ctx, &list); err != nil {
		return nil, err
	}
	for _, r := range list.Items {
		if r.Spec.Owner != nil && r.Spec.Owner.Name == peer {
			owned = append(owned, netip.MustParsePrefix(r.Spec.CIDR))
		}
	}
	return owned, nil
}

// Within says whether an address is in one of the ranges.
func Within(ranges []netip.Prefix, addr string) bool {
	parsed, err := netip.ParseAddr(addr)
	return err == nil && slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(parsed) })
}

// PeerUID is the incarnation of a peer.
func (s *Stage) PeerUID(ctx context.Context, name string) (types.UID, error) {
	var peer v1alpha1.Peer
	err := s.Client.Get(ctx, client.ObjectKey{Name: name}, &peer)
	return peer.UID, err
}

// AwaitPeer waits until a peer, of another incarnation than the one named, is
// Ready.
func (s *Stage) AwaitPeer(ctx context.Context, name string, other types.UID) error {
	return s.Eventually(ctx, name+" to join anew", func(ctx context.Context) error {
		var peer v1alpha1.Peer
		if err := s.Client.Get(ctx, client.ObjectKey{Name: name}, &peer); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(peer.Status.Conditions, "Ready")
		if peer.UID == other || ready == nil || ready.Status != metav1.ConditionTrue {
			return fmt.Errorf("%s has uid %s and is %+v", name, peer.UID, ready)
		}
		return nil
	})
}

// Declare applies a PeerRemoval, as a person would.
func (s *Stage) Declare(ctx context.Context, peer, heir string) error {
	path := filepath.Join(s.work, peer+"-removal.yaml")
	text := fmt.Sprintf("apiVersion: net.selvage.dev/v1alpha1\nkind: PeerRemoval\nmetadata: {name: %s}\nspec: {heir: %s}\n", peer, heir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	_, err := s.Kubectl(ctx, "apply", "--filename", path)
	return err
}

// AwaitRemoved waits until a removal is done.
func (s *Stage) AwaitRemoved(ctx context.Context, peer string) (v1alpha1.PeerRemoval, error) {
	var r v1alpha1.PeerRemoval
	err := s.Eventually(ctx, peer+" to be removed", func(ctx context.Context) error {
		if err := s.Client.Get(ctx, client.ObjectKey{Name: peer}, &r); err != nil {
			return err
		}
		if r.Status.Phase != v1alpha1.RemovalRemoved {
			return fmt.Errorf("%s is %s: %+v", peer, r.Status.Phase, r.Status.Conditions)
		}
		return nil
	})
	return r, err
}

// AwaitGone waits until there is no such incarnation of a peer.
func (s *Stage) AwaitGone(ctx context.Context, name string, uid types.UID) error {
	return s.Eventually(ctx, name+" to be gone", func(ctx context.Context) error {
		now, err := s.PeerUID(ctx, name)
		if err == nil && now == uid {
			return fmt.Errorf("%s is still there", name)
		}
		return client.IgnoreNotFound(err)
	})
}
