// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Unreachable says whether a peer counts as out of the reachable network: its
// lease is sealed, or the controller finds it not Ready for want of a lease.
func Unreachable(s *inventory.State, p *v1alpha1.Peer) bool {
	if sealed, _ := s.Sealed(p.Name); sealed {
		return true
	}
	if _, found := s.Leases[p.Name]; s.Has(inventory.Leases) && !found {
		return true
	}
	ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionUnknown
}

// Accepted says whether a pool is divided among peers.
func Accepted(pool *v1alpha1.AddressPool) bool {
	return meta.IsStatusConditionTrue(pool.Status.Conditions, v1alpha1.ConditionAccepted)
}

// Holding is what an incarnation owns, and uses of it.
type Holding struct {
	Ranges          int
	Addresses, Used int64
}

// Holdings are those of the peers, counted from the ranges themselves where
// they were read: a peer's status lags behind by a moment.
func Holdings(s *inventory.State) map[types.UID]Holding {
	held := make(map[types.UID]Holding, len(s.Peers))
	if !s.Has(inventory.Ranges) {
		for i := range s.Peers {
			status := &s.Peers[i].Status
			held[s.Peers[i].UID] = Holding{int(status.Ranges), status.Addresses, status.Used}
		}
		return held
	}
	for i := range s.Ranges {
		if r := &s.Ranges[i]; r.Spec.Owner != nil {
			h := held[r.Spec.Owner.UID]
			held[r.Spec.Owner.UID] = Holding{h.Ranges + 1, h.Addresses + inventory.Size(r.Spec.CIDR), h.Used + r.Status.Used}
		}
	}
	return held
}

// Peers shows the peers as kubectl get peers does; wide adds what is needed to
// tell machines apart.
func (p *Page) Peers(s *inventory.State, peers []v1alpha1.Peer, wide bool) error {
	t := Table{Header: []string{"NAME", "PHASE", "RANGES", "ADDRESSES", "USED", "AGE", "MESSAGE"}}
	if wide {
		t.Header = []string{"NAME", "PHASE", "RANGES", "ADDRESSES", "USED", "AGE", "HOST", "UNDERLAY", "LEASE", "VERSION", "INSTANCE", "MESSAGE"}
	}
	held := Holdings(s)
	for i := range peers {
		t.Rows = append(t.Rows, p.peerRow(s, &peers[i], held[peers[i].UID], wide))
	}
	return p.Table(t)
}

func (p *Page) peerRow(s *inventory.State, peer *v1alpha1.Peer, held Holding, wide bool) []Cell {
	row := []Cell{
		{Text: peer.Name}, PhaseCell(s, peer),
		{Text: fmt.Sprint(held.Ranges)}, {Text: fmt.Sprint(held.Addresses)}, {Text: fmt.Sprint(held.Used)},
		{Text: p.Age(peer.CreationTimestamp)},
	}
	if wide {
		row = append(row, plain(inventory.HostName(peer), strings.Join(inventory.Underlay(peer), ","),
			lease(s, peer.Name), version(peer), peer.Spec.InstanceID)...)
	}
	return append(row, Cell{messageOf(peer), Plain})
}

// PhaseCell is a peer's phase, drawn by how worrying it is.
func PhaseCell(s *inventory.State, p *v1alpha1.Peer) Cell {
	phase := inventory.Phase(p)
	switch {
	case phase == v1alpha1.PhaseActive && Unreachable(s, p):
		return Cell{string(phase), Bad}
	case phase == v1alpha1.PhaseActive && meta.IsStatusConditionFalse(p.Status.Conditions, v1alpha1.ConditionReady):
		return Cell{string(phase), Warn}
	case phase == v1alpha1.PhaseActive:
		return Cell{string(phase), Good}
	case phase == v1alpha1.PhaseRemoved:
		return Cell{string(phase), Faint}
	}
	return Cell{string(phase), Warn}
}

// messageOf is empty ("<none>") for a peer that is simply well.
func messageOf(p *v1alpha1.Peer) string {
	return inventory.Message(p.Status.Conditions, v1alpha1.ConditionReady)
}

func version(p *v1alpha1.Peer) string {
	if p.Status.Agent == nil {
		return ""
	}
	return p.Status.Agent.Version
}

func lease(s *inventory.State, peer string) string {
	l, found := s.Leases[peer]
	switch {
	case !s.Has(inventory.Leases):
		return "<unread>"
	case !found:
		return "absent"
	case inventory.Holder(&l) == v1alpha1.SealedHolder:
		return "sealed"
	}
	return "held"
}
