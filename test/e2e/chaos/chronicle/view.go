// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package chronicle

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// View is what etcd has. It is valid only within the call that it was given to,
// and nothing in it may be written to.
type View struct{ s *state }

// Peer is nil if there is none.
func (v View) Peer(name string) *v1alpha1.Peer { return v.s.peers[name] }

// Removal is nil if there is none.
func (v View) Removal(name string) *v1alpha1.PeerRemoval { return v.s.removals[name] }

// Removals are all of them, by name.
func (v View) Removals() []v1alpha1.PeerRemoval { return list(v.s.removals) }

// Node is nil if there is none.
func (v View) Node(name string) *corev1.Node { return v.s.nodes[name] }

// Reachable says whether the host's current peer holds an unsealed lease.
func (v View) Reachable(host string) bool { return v.s.reachable(host) }

// Active says whether the host's peer is in the network, and nothing is under
// way to take it out.
func (v View) Active(host string) bool {
	p := v.Peer(host)
	return p != nil && p.DeletionTimestamp.IsZero() && inventory.Phase(p) == v1alpha1.PhaseActive && p.Spec.Removal == nil && v.Removal(host) == nil
}

// Peers are the names of all.
func (v View) Peers() []string { return slices.Sorted(maps.Keys(v.s.peers)) }
