// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// Objects are Selvage's objects as somebody else has read them.
type Objects struct {
	Pools    []v1alpha1.AddressPool
	Peers    []v1alpha1.Peer
	Ranges   []v1alpha1.AddressRange
	Removals []v1alpha1.PeerRemoval
	Leases   []coordinationv1.Lease
}

// Convert makes of them what ownership's invariants are stated on, and names
// the objects that cannot be read as what they claim to be. Nodes and Pods are
// left out.
func Convert(o Objects) (ownership.Snapshot, []Malformed) {
	v := &View{
		pools:  map[string]*v1alpha1.AddressPool{},
		peers:  map[string]*v1alpha1.Peer{},
		ranges: map[string]*v1alpha1.AddressRange{},
	}
	for i := range o.Pools {
		v.addPool(&o.Pools[i])
	}
	for i := range o.Peers {
		v.addPeer(&o.Peers[i])
	}
	for i := range o.Ranges {
		v.addRange(&o.Ranges[i])
	}
	for i := range o.Removals {
		v.Removals = append(v.Removals, toDeclaration(&o.Removals[i]))
	}
	for i := range o.Leases {
		if l, ok := toLease(&o.Leases[i]); ok {
			v.Leases = append(v.Leases, l)
		}
	}
	return v.Snapshot, v.Malformed
}
