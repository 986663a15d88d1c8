// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package chronicle

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
)

const group = "net.selvage.dev/"

// state is the cluster after one revision.
type state struct {
	namespace string
	revision  int64
	pools     map[string]*v1alpha1.AddressPool
	peers     map[string]*v1alpha1.Peer
	ranges    map[string]*v1alpha1.AddressRange
	removals  map[string]*v1alpha1.PeerRemoval
	leases    map[string]*coordinationv1.Lease // by peer
	nodes     map[string]*corev1.Node
	// touched says that something has changed that invariants speak of.
	touched bool

	before   *ownership.Snapshot
	past     map[string]*v1alpha1.AddressRange // as of the revision before
	phases   map[string]v1alpha1.PeerPhase     // by uid
	tenures  []tenure
	turns    map[string][]turn // by host
	declared map[string]bool   // removals by uid
}

func newState(namespace string) *state {
	return &state{
		namespace: namespace,
		pools:     map[string]*v1alpha1.AddressPool{}, peers: map[string]*v1alpha1.Peer{}, ranges: map[string]*v1alpha1.AddressRange{},
		removals: map[string]*v1alpha1.PeerRemoval{}, leases: map[string]*coordinationv1.Lease{}, nodes: map[string]*corev1.Node{},
		past: map[string]*v1alpha1.AddressRange{}, phases: map[string]v1alpha1.PeerPhase{}, turns: map[string][]turn{}, declared: map[string]bool{},
	}
}

// apply takes one change over; nil is a deletion.
func (s *state) apply(key string, value []byte, revision int64) error {
	s.revision = revision
	key = strings.TrimPrefix(key, prefix)
	kind, name, ok := cutLast(key)
	if !ok {
		return nil
	}
	var err error
	switch kind {
	case group + "addresspools":
		err = keep(s.pools, name, value, revision)
	case group + "peers":
		err = keep(s.peers, name, value, revision)
	case group + "addressranges":
		err = keep(s.ranges, name, value, revision)
	case group + "peerremovals":
		err = keep(s.removals, name, value, revision)
	case "leases/" + s.namespace:
		peer, isPeer := strings.CutPrefix(name, v1alpha1.LeasePrefix)
		if !isPeer {
			return nil
		}
		err = keep(s.leases, peer, value, revision)
	case "minions":
		return keep(s.nodes, name, value, revision)
	default:
		return nil
	}
	s.touched = true
	return err
}

func cutLast(key string) (before, after string, found bool) {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return key, "", false
	}
	return key[:i], key[i+1:], true
}

func keep[T any, P interface {
	*T
	metav1.Object
}](objects map[string]*T, name string, value []byte, revision int64) error {
	if value == nil {
		delete(objects, name)
		return nil
	}
	o := new(T)
	if err := json.Unmarshal(value, o); err != nil {
		return fmt.Errorf("etcd has something else than JSON for %s: %w", name, err)
	}
	P(o).SetResourceVersion(strconv.FormatInt(revision, 10))
	objects[name] = o
	return nil
}

func list[T any](objects map[string]*T) []T {
	out := make([]T, 0, len(objects))
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		out = append(out, *objects[name])
	}
	return out
}

// inventory is what kubectl selvage check judges. Pods are left out: what the
// API says of them is late by nature, and here they are asked themselves.
func (s *state) inventory() *inventory.State {
	i := inventory.New(s.namespace, inventory.Pools, inventory.Peers, inventory.Ranges, inventory.Removals, inventory.Leases)
	i.Pools, i.Peers, i.Ranges, i.Removals = list(s.pools), list(s.peers), list(s.ranges), list(s.removals)
	i.Leases = map[string]coordinationv1.Lease{}
	for name, l := range s.leases {
		i.Leases[name] = *l
	}
	return i
}

func (s *state) snapshot() *ownership.Snapshot {
	snapshot, _ := controllers.Convert(controllers.Objects{
		Pools: list(s.pools), Peers: list(s.peers), Ranges: list(s.ranges), Removals: list(s.removals), Leases: list(s.leases),
	})
	snapshot.Consistent = true
	return &snapshot
}

// reachable says whether the host counts to the reachable network: its current
// peer holds an unsealed lease.
func (s *state) reachable(host string) bool {
	p, l := s.peers[host], s.leases[host]
	if p == nil || l == nil || inventory.Gone(inventory.Phase(p)) {
		return false
	}
	uid, _, _ := strings.Cut(inventory.Holder(l), "/")
	return uid == string(p.UID)
}
