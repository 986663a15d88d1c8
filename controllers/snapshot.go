// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// HeartbeatNamespace is where kubelets keep their Leases.
const HeartbeatNamespace = corev1.NamespaceNodeLease

// nodesToGet is how many Nodes are read one by one for a consistent snapshot;
// if more are in question, all are listed.
const nodesToGet = 32

// Reader takes snapshots of the cluster.
type Reader struct {
	// Cached reads from the watch caches.
	Cached client.Reader
	// Direct reads from the API server: LISTs without a resourceVersion are
	// consistent.
	Direct client.Reader
	// Namespace holds the peers' Leases.
	Namespace string
}

// View is a snapshot, and the objects it was made from: a write changes a copy
// of what was read. The objects may be the cache's own and are never written
// to.
type View struct {
	ownership.Snapshot

	pools    map[string]*v1alpha1.AddressPool
	peers    map[string]*v1alpha1.Peer
	ranges   map[string]*v1alpha1.AddressRange
	removals map[string]*v1alpha1.PeerRemoval
	leases   map[string]*coordinationv1.Lease // by peer name

	// Revision is the newest that the API server is known to have been at when
	// this was read, and empty where a cache does not say.
	Revision string

	// Malformed objects, which the schema should have refused.
	Malformed []Malformed
}

// Malformed is an object that cannot be read as what it claims to be.
type Malformed struct {
	Kind, Name string
	Err        error
}

// Frozen says why nothing may be decided on this view: an AddressRange that
// cannot be read may cover any space.
func (v *View) Frozen() error {
	for _, m := range v.Malformed {
		if m.Kind == kindRange {
			return fmt.Errorf("%s %s cannot be read (%w): nothing is granted or moved until it is corrected or deleted", m.Kind, m.Name, m.Err)
		}
	}
	return nil
}

// The kinds, as events, conditions and metrics name them.
const (
	kindPeer    = "Peer"
	kindRange   = "AddressRange"
	kindPool    = "AddressPool"
	kindRemoval = "PeerRemoval"
	kindLease   = "Lease"
	kindNode    = "Node"
)

// FromCache is what the watches have brought so far. Nothing irreversible is
// decided on it.
func (r *Reader) FromCache(ctx context.Context) (*View, error) {
	// The lists share memory with the cache: conversion copies what it takes.
	shared := client.UnsafeDisableDeepCopy
	v, err := r.ours(ctx, r.Cached, shared)
	if err != nil {
		return nil, err
	}
	if err := r.nodes(ctx, v); err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := r.Cached.List(ctx, &pods, shared); err != nil {
		return nil, fmt.Errorf("listing pods from the cache: %w", err)
	}
	v.Pods = make([]ownership.Pod, 0, len(pods.Items))
	for i := range pods.Items {
		if p, ok := toPod(&pods.Items[i]); ok {
			v.Pods = append(v.Pods, p)
		}
	}
	return v, nil
}

// Consistent reads from the API server, each kind in one LIST that begins
// after the call: our own kinds and Leases always, the Nodes that a removal
// hangs on, and the pods of the nodes in podsOn. The rest of the pods and
// Nodes, and the kubelets' Leases, come from the cache: they are a second line
// of defence, or delay a removal, and never allow one.
func (r *Reader) Consistent(ctx context.Context, podsOn []string) (*View, error) {
	v, err := r.ours(ctx, r.Direct)
	if err != nil {
		return nil, err
	}
	v.Snapshot.Consistent = true
	if err := r.nodes(ctx, v); err != nil {
		return nil, err
	}
	if err := r.verifyNodes(ctx, v); err != nil {
		return nil, err
	}
	return v, r.pods(ctx, v, podsOn)
}

// Revision is what the API server is at, or has been since this was called: that
// of a consistent LIST, of one object at most.
func (r *Reader) Revision(ctx context.Context) (string, error) {
	var ranges v1alpha1.AddressRangeList
	if err := r.Direct.List(ctx, &ranges, client.Limit(1)); err != nil {
		return "", fmt.Errorf("asking for the API server's revision: %w", err)
	}
	return ranges.ResourceVersion, nil
}

// ours reads Selvage's kinds and the peers' Leases.
func (r *Reader) ours(ctx context.Context, from client.Reader, opts ...client.ListOption) (*View, error) {
	v := &View{
		pools:    map[string]*v1alpha1.AddressPool{},
		peers:    map[string]*v1alpha1.Peer{},
		ranges:   map[string]*v1alpha1.AddressRange{},
		removals: map[string]*v1alpha1.PeerRemoval{},
		leases:   map[string]*coordinationv1.Lease{},
	}
	var pools v1alpha1.AddressPoolList
	var removals v1alpha1.PeerRemovalList
	var peers v1alpha1.PeerList
	var ranges v1alpha1.AddressRangeList
	var leases coordinationv1.LeaseList
	// Peers before Leases: whoever takes its Lease after the Peers were read
	// has seen what they say.
	for _, list := range []client.ObjectList{&pools, &removals, &peers, &ranges} {
		if err := from.List(ctx, list, opts...); err != nil {
			return nil, fmt.Errorf("listing %T: %w", list, err)
		}
		v.Revision = list.GetResourceVersion()
	}
	if err := from.List(ctx, &leases, append(opts, client.InNamespace(r.Namespace))...); err != nil {
		return nil, fmt.Errorf("listing the peers' leases: %w", err)
	}
	for i := range pools.Items {
		v.addPool(&pools.Items[i])
	}
	for i := range removals.Items {
		v.removals[removals.Items[i].Name] = &removals.Items[i]
		v.Removals = append(v.Removals, toDeclaration(&removals.Items[i]))
	}
	for i := range peers.Items {
		v.addPeer(&peers.Items[i])
	}
	for i := range ranges.Items {
		v.addRange(&ranges.Items[i])
	}
	for i := range leases.Items {
		if l, ok := toLease(&leases.Items[i]); ok {
			v.leases[l.Name] = &leases.Items[i]
			v.Leases = append(v.Leases, l)
		}
	}
	return v, nil
}

func (v *View) malformed(kind, name string, err error) {
	v.Malformed = append(v.Malformed, Malformed{Kind: kind, Name: name, Err: err})
}

func (v *View) addPool(o *v1alpha1.AddressPool) {
	v.pools[o.Name] = o
	p, err := toPool(o)
	if err != nil {
		v.malformed(kindPool, o.Name, err)
		return
	}
	v.Pools = append(v.Pools, p)
}

func (v *View) addPeer(o *v1alpha1.Peer) {
	v.peers[o.Name] = o
	p, err := toPeer(o)
	if err != nil {
		// An address that cannot be read is not accepted; the rest stands.
		v.malformed(kindPeer, o.Name, err)
	}
	v.Peers = append(v.Peers, p)
}

func (v *View) addRange(o *v1alpha1.AddressRange) {
	v.ranges[o.Name] = o
	rg, err := toRange(o)
	if err != nil {
		v.malformed(kindRange, o.Name, err)
		return
	}
	v.Ranges = append(v.Ranges, rg)
}

// pods takes the pods of the nodes in podsOn from the API server, and all
// others from the cache.
func (r *Reader) pods(ctx context.Context, v *View, podsOn []string) error {
	v.PodsListed = make(map[string]bool, len(podsOn))
	for _, node := range podsOn {
		if v.PodsListed[node] {
			continue
		}
		var pods corev1.PodList
		if err := r.Direct.List(ctx, &pods, client.MatchingFields{"spec.nodeName": node}); err != nil {
			return fmt.Errorf("listing the pods of node %s: %w", node, err)
		}
		v.PodsListed[node] = true
		for i := range pods.Items {
			if p, ok := toPod(&pods.Items[i]); ok {
				v.Pods = append(v.Pods, p)
			}
		}
	}
	var pods corev1.PodList
	if err := r.Cached.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing pods from the cache: %w", err)
	}
	for i := range pods.Items {
		if v.PodsListed[pods.Items[i].Spec.NodeName] {
			continue
		}
		if p, ok := toPod(&pods.Items[i]); ok {
			v.Pods = append(v.Pods, p)
		}
	}
	return nil
}
