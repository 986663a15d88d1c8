// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// nodes takes Nodes and the kubelets' Leases from the cache.
func (r *Reader) nodes(ctx context.Context, v *View) error {
	var nodes corev1.NodeList
	if err := r.Cached.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing nodes from the cache: %w", err)
	}
	var beats coordinationv1.LeaseList
	if err := r.Cached.List(ctx, &beats, client.UnsafeDisableDeepCopy, client.InNamespace(HeartbeatNamespace)); err != nil {
		return fmt.Errorf("listing the kubelets' leases from the cache: %w", err)
	}
	byName := make(map[string]*coordinationv1.Lease, len(beats.Items))
	for i := range beats.Items {
		byName[beats.Items[i].Name] = &beats.Items[i]
	}
	selectors := v.selectors()
	v.Nodes = make([]ownership.Node, 0, len(nodes.Items))
	for i := range nodes.Items {
		v.Nodes = append(v.Nodes, withPools(&nodes.Items[i], selectors, byName[nodes.Items[i].Name]))
	}
	return nil
}

// selectors are the pools' node selectors, by pool; none selects every node.
func (v *View) selectors() map[string]labels.Selector {
	out := make(map[string]labels.Selector, len(v.pools))
	for name, pool := range v.pools {
		out[name] = labels.Everything()
		if pool.Spec.NodeSelector == nil {
			continue
		}
		// A selector that cannot be read makes the pool malformed: it is
		// not divided at all.
		s, err := metav1.LabelSelectorAsSelector(pool.Spec.NodeSelector)
		if err != nil {
			s = labels.Nothing()
		}
		out[name] = s
	}
	return out
}

func withPools(n *corev1.Node, selectors map[string]labels.Selector, beat *coordinationv1.Lease) ownership.Node {
	out := toNode(n)
	out.Pools = make(map[string]bool, len(selectors))
	for pool, s := range selectors {
		if s.Matches(labels.Set(n.Labels)) {
			out.Pools[pool] = true
		}
	}
	if beat != nil {
		out.Heartbeat = beat.ResourceVersion
		out.HeartbeatDuration = leaseDuration(beat)
	}
	return out
}

// verifyNodes reads again, from the API server, the Nodes whose absence,
// replacement or taint a removal may rest on: a cache may lag, and what it
// does not know yet is not gone.
func (r *Reader) verifyNodes(ctx context.Context, v *View) error {
	index := make(map[string]int, len(v.Nodes))
	for i := range v.Nodes {
		index[v.Nodes[i].Name] = i
	}
	var doubtful []string
	for i := range v.Peers {
		p := &v.Peers[i]
		at, known := index[p.Name]
		if !known || v.Nodes[at].UID != p.NodeUID || v.Nodes[at].OutOfService || p.Removal != nil {
			doubtful = append(doubtful, p.Name)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	found, err := r.readNodes(ctx, doubtful)
	if err != nil {
		return err
	}
	replaceNodes(v, doubtful, found)
	return nil
}

// readNodes returns those of the named Nodes that exist.
func (r *Reader) readNodes(ctx context.Context, names []string) (map[string]*corev1.Node, error) {
	found := make(map[string]*corev1.Node, len(names))
	if len(names) > nodesToGet {
		var nodes corev1.NodeList
		if err := r.Direct.List(ctx, &nodes); err != nil {
			return nil, fmt.Errorf("listing nodes: %w", err)
		}
		for i := range nodes.Items {
			found[nodes.Items[i].Name] = &nodes.Items[i]
		}
		return found, nil
	}
	for _, name := range names {
		var n corev1.Node
		err := r.Direct.Get(ctx, types.NamespacedName{Name: name}, &n)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading node %s: %w", name, err)
		}
		found[name] = &n
	}
	return found, nil
}

// replaceNodes puts what was read about the doubtful Nodes in the place of
// what the cache said.
func replaceNodes(v *View, doubtful []string, found map[string]*corev1.Node) {
	selectors := v.selectors()
	drop := make(map[string]bool, len(doubtful))
	for _, name := range doubtful {
		drop[name] = true
	}
	kept := v.Nodes[:0]
	beats := map[string]ownership.Node{}
	for _, n := range v.Nodes {
		if drop[n.Name] {
			beats[n.Name] = n
			continue
		}
		kept = append(kept, n)
	}
	for _, name := range doubtful {
		n, ok := found[name]
		if !ok {
			continue
		}
		fresh := withPools(n, selectors, nil)
		fresh.Heartbeat, fresh.HeartbeatDuration = beats[name].Heartbeat, beats[name].HeartbeatDuration
		kept = append(kept, fresh)
	}
	v.Nodes = kept
}
