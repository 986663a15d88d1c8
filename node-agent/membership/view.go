// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/addresses"
)

// View is the API as it was read at about one moment.
type View struct {
	// Consistent: each part is a LIST made for this view, not a cache's.
	Consistent bool
	Peers      []v1alpha1.Peer
	Ranges     []v1alpha1.AddressRange
	Pools      []v1alpha1.AddressPool
	// Removal and Node are those of this node's name; nil: there is none.
	Removal *v1alpha1.PeerRemoval
	Node    *corev1.Node
	// Revision is what the API server was at when a consistent view listed the
	// ranges.
	Revision string
}

// newest is the highest resourceVersion that the view shows of Peers and
// ranges.
func (v *View) newest() string {
	newest := ""
	reach := func(revision string) {
		if order, err := resourceversion.CompareResourceVersion(revision, newest); revision != "" && (err != nil || order > 0) {
			newest = revision
		}
	}
	for i := range v.Peers {
		reach(v.Peers[i].ResourceVersion)
	}
	for i := range v.Ranges {
		reach(v.Ranges[i].ResourceVersion)
	}
	return newest
}

// before reports whether the API server was at an earlier revision when the
// view was made.
func (v *View) before(revision string) bool {
	order, err := resourceversion.CompareResourceVersion(v.Revision, revision)
	return err == nil && order < 0
}

// look reads a view. With a client that does not cache, every part of it is
// a consistent LIST: a kind that is not served is an error, never an absence.
func look(ctx context.Context, reader client.Reader, name string, consistent bool) (View, error) {
	var peers v1alpha1.PeerList
	var ranges v1alpha1.AddressRangeList
	var pools v1alpha1.AddressPoolList
	var removals v1alpha1.PeerRemovalList
	var nodes corev1.NodeList
	// A cache holds nothing else of these two kinds anyway.
	var mine []client.ListOption
	if consistent {
		mine = append(mine, client.MatchingFields{"metadata.name": name})
	}
	for _, list := range []struct {
		of   client.ObjectList
		opts []client.ListOption
	}{{of: &peers}, {of: &ranges}, {of: &pools}, {&removals, mine}, {&nodes, mine}} {
		if err := reader.List(ctx, list.of, list.opts...); err != nil {
			return View{}, fmt.Errorf("listing %T: %w", list.of, describeMissing(err))
		}
	}
	v := View{Consistent: consistent, Peers: peers.Items, Ranges: ranges.Items, Pools: pools.Items, Revision: ranges.ResourceVersion}
	if len(removals.Items) > 0 {
		v.Removal = &removals.Items[0]
	}
	if len(nodes.Items) > 0 {
		v.Node = &nodes.Items[0]
	}
	return v, nil
}

func describeMissing(err error) error {
	if isMissingKind(err) {
		return fmt.Errorf("%w: are Selvage's CRDs installed? Nothing is cut off while they are missing", err)
	}
	return err
}

// peer is the Peer of that name; nil: there is none.
func (v *View) peer(name string) *v1alpha1.Peer {
	i := slices.IndexFunc(v.Peers, func(p v1alpha1.Peer) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &v.Peers[i]
}

// nodeUID is the Node's; empty: there is none.
func (v *View) nodeUID() string {
	if v.Node == nil {
		return ""
	}
	return string(v.Node.UID)
}

// nodeAddresses are the addresses that the Node says it has.
func (v *View) nodeAddresses() []netip.Addr {
	if v.Node == nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range v.Node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// poolCIDRs are those of the accepted pools.
func (v *View) poolCIDRs() []netip.Prefix {
	var cidrs []netip.Prefix
	for i := range v.Pools {
		pool := &v.Pools[i]
		if !meta.IsStatusConditionTrue(pool.Status.Conditions, v1alpha1.ConditionAccepted) {
			continue
		}
		if cidr, err := netip.ParsePrefix(pool.Spec.CIDR); err == nil {
			cidrs = append(cidrs, cidr)
		}
	}
	slices.SortFunc(cidrs, netip.Prefix.Compare)
	return cidrs
}

// families are those of the accepted pools that this node draws from.
func (v *View) families() (f addresses.Families) {
	if v.Node == nil {
		return 0
	}
	for i := range v.Pools {
		pool := &v.Pools[i]
		cidr, err := netip.ParsePrefix(pool.Spec.CIDR)
		if err != nil || !meta.IsStatusConditionTrue(pool.Status.Conditions, v1alpha1.ConditionAccepted) {
			continue
		}
		if selector := pool.Spec.NodeSelector; selector != nil {
			chosen, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil || !chosen.Matches(labels.Set(v.Node.Labels)) {
				continue
			}
		}
		f |= addresses.FamilyOf(cidr.Addr())
	}
	return f
}

// phaseOf is what counts of a Peer's phase for its own agent. A removal that
// is recorded but not yet a phase counts; a phase Fencing whose removal was
// taken back does not.
func phaseOf(p *v1alpha1.Peer) Phase {
	switch p.Status.Phase {
	case v1alpha1.PhaseTransferring, v1alpha1.PhaseRemoved:
		return Gone
	}
	if p.Spec.Removal != nil {
		return Removing
	}
	return Current
}

// situation is what the view and the disk say about the peer of that name.
func situation(v *View, name string, record Record, machine Fingerprint) Situation {
	s := Situation{
		Seen: true, NodeUID: v.nodeUID(), Record: record,
		SameMachine: record.Machine.IsZero() || record.Machine.Same(machine),
	}
	if p := v.peer(name); p != nil {
		s.Peer = &PeerFacts{UID: string(p.UID), InstanceID: p.Spec.InstanceID, Phase: phaseOf(p), Generation: p.Generation}
	}
	if v.Removal != nil {
		s.Declared = &DeclaredFacts{InstanceID: v.Removal.Spec.InstanceID}
	}
	s.Taken = taken(v, record)
	return s
}

// taken reports whether space that the record says this peer owned is another's
// by now, or came to its owner from this incarnation.
func taken(v *View, record Record) bool {
	owned := record.Owned()
	return record.Joined() && slices.ContainsFunc(v.Ranges, func(r v1alpha1.AddressRange) bool {
		if previous := r.Spec.PreviousOwner; previous != nil && string(previous.UID) == record.PeerUID {
			return true
		}
		cidr, err := netip.ParsePrefix(r.Spec.CIDR)
		if err != nil || r.Spec.Owner == nil || string(r.Spec.Owner.UID) == record.PeerUID {
			return false
		}
		return slices.ContainsFunc(owned, cidr.Overlaps)
	})
}
