// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inventory is what a command has read of the cluster, and what
// follows from it alone: who owns what, which removals are under way and what
// each waits for, and whom a name means.
package inventory

import (
	"cmp"
	"net/netip"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Part is a kind of object that a command reads. It is spelled as people and
// error messages name it.
type Part string

// The parts of a State.
const (
	Pools    Part = "addresspools"
	Peers    Part = "peers"
	Ranges   Part = "addressranges"
	Removals Part = "peerremovals"
	Leases   Part = "leases"
	Nodes    Part = "nodes"
	Pods     Part = "pods"
)

// State is what was read. Each list is one consistent LIST; two lists may be
// some milliseconds apart.
type State struct {
	Pools    []v1alpha1.AddressPool
	Peers    []v1alpha1.Peer
	Ranges   []v1alpha1.AddressRange
	Removals []v1alpha1.PeerRemoval
	// Leases are the peers' leases by the peer's name, and Leader is the
	// controllers' leader election lease, if there is one.
	Leases map[string]coordinationv1.Lease
	Leader *coordinationv1.Lease
	Nodes  []corev1.Node
	Pods   []corev1.Pod

	// Unread says why a part that was asked for is missing.
	Unread map[Part]error
	// asked is what is read at all; nil means everything.
	asked map[Part]bool
	// Namespace is where Selvage is installed: where the leases were sought.
	Namespace string
}

// New is a State of which these parts are going to be read.
func New(namespace string, parts ...Part) *State {
	s := &State{Unread: map[Part]error{}, Namespace: namespace, asked: map[Part]bool{}}
	for _, p := range parts {
		s.asked[p] = true
	}
	return s
}

// Has says whether the part was asked for and could be read.
func (s *State) Has(p Part) bool {
	_, unread := s.Unread[p]
	return !unread && (s.asked == nil || s.asked[p])
}

// Require returns the first error that kept one of the parts from being read.
func (s *State) Require(parts ...Part) error {
	for _, p := range parts {
		if err := s.Unread[p]; err != nil {
			return err
		}
	}
	return nil
}

// Peer returns the peer of that name, or nil.
func (s *State) Peer(name string) *v1alpha1.Peer {
	for i := range s.Peers {
		if s.Peers[i].Name == name {
			return &s.Peers[i]
		}
	}
	return nil
}

// Declared returns the PeerRemoval of the peer of that name, or nil.
func (s *State) Declared(name string) *v1alpha1.PeerRemoval {
	for i := range s.Removals {
		if s.Removals[i].Name == name {
			return &s.Removals[i]
		}
	}
	return nil
}

// Sealed says whether a peer's lease is sealed, and whether it was read at all.
func (s *State) Sealed(peer string) (sealed, known bool) {
	lease, found := s.Leases[peer]
	if !found {
		return false, false
	}
	return Holder(&lease) == v1alpha1.SealedHolder, true
}

// Holder is a lease's holderIdentity, or empty.
func Holder(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// Phase is a peer's phase: absent is Active.
func Phase(p *v1alpha1.Peer) v1alpha1.PeerPhase {
	if p.Status.Phase == "" {
		return v1alpha1.PhaseActive
	}
	return p.Status.Phase
}

// Gone says whether a phase is past the point of no return.
func Gone(phase v1alpha1.PeerPhase) bool {
	return phase == v1alpha1.PhaseTransferring || phase == v1alpha1.PhaseRemoved
}

// Size is how many addresses a CIDR of at most 2^62 holds; 0 if it is none.
func Size(cidr string) int64 {
	p, err := netip.ParsePrefix(cidr)
	if err != nil || p.Addr().BitLen()-p.Bits() > 62 {
		return 0
	}
	return 1 << (p.Addr().BitLen() - p.Bits())
}

// SortRanges sorts by address, larger ranges first, where the API sorts by
// name: 10.100.0.0 before 10.32.0.0.
func SortRanges(ranges []v1alpha1.AddressRange) {
	slices.SortFunc(ranges, func(a, b v1alpha1.AddressRange) int {
		pa, pb := Prefix(a.Spec.CIDR), Prefix(b.Spec.CIDR)
		return cmp.Or(pa.Addr().Compare(pb.Addr()), cmp.Compare(pa.Bits(), pb.Bits()))
	})
}

// Message is the message of the condition, if it is there.
func Message(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

// Underlay lists where a peer's tunnel traffic comes from: what the controller
// has accepted, and, without any, what the agent reports.
func Underlay(p *v1alpha1.Peer) []string {
	if len(p.Status.Underlay) > 0 || p.Status.Agent == nil {
		return p.Status.Underlay
	}
	return p.Status.Agent.Underlay
}

// HostName is the machine's name as the agent reports it, or empty.
func HostName(p *v1alpha1.Peer) string {
	if p.Status.Agent == nil {
		return ""
	}
	return p.Status.Agent.HostName
}
