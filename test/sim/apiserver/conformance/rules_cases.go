// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

type (
	addressRange = v1alpha1.AddressRange
	peer         = v1alpha1.Peer
	peerRemoval  = v1alpha1.PeerRemoval
	pool         = v1alpha1.AddressPool
)

var host1, host2 = &v1alpha1.PeerReference{Name: "host1", UID: "uid-1"}, &v1alpha1.PeerReference{Name: "host2", UID: "uid-2"}

// part is a shorter prefix of the range's first addresses, which are /24.
func part(o *addressRange, bits string) string { return strings.TrimSuffix(o.Spec.CIDR, "24") + bits }

// Steps in the life of a range.
var (
	granted = spec(func(o *addressRange) { o.Spec.Owner, o.Spec.Epoch = host1, 1 })
	moved   = spec(func(o *addressRange) { o.Spec.Owner, o.Spec.PreviousOwner, o.Spec.Epoch = host2, host1, 2 })
	sealed  = status(func(o *addressRange) {
		o.Status.ObservedEpoch, o.Status.Sealed = 1, &v1alpha1.RangeSeal{Epoch: 1, Keep: part(o, "25")}
	})
	shrunk = spec(func(o *addressRange) { o.Spec.CIDR = part(o, "25") })
)

func reserving(addresses ...string) write {
	return spec(func(o *addressRange) {
		for _, a := range addresses {
			o.Spec.Reserved = append(o.Spec.Reserved, v1alpha1.Reservation{Address: strings.TrimSuffix(o.Name, "0") + a, PodUID: "pod-1"})
		}
	})
}

var rangeRules = []rule{
	{kind: "AddressRange", what: "a claim"},
	{
		kind: "AddressRange", what: "an owner from the start", refused: "a range begins as a claim",
		draft: born(func(o *addressRange) { o.Spec.Owner, o.Spec.Epoch = host1, 1 }),
	},
	{
		kind: "AddressRange", what: "another address as its name", refused: "a range is named by its first address",
		draft: born(func(o *addressRange) { o.Spec.CIDR = "192.0.2.0/24" }),
	},
	{
		kind: "AddressRange", what: "host bits", refused: "not a CIDR in canonical form",
		draft: born(func(o *addressRange) { o.Spec.CIDR = part(o, "8") }),
	},
	{kind: "AddressRange", what: "a grant", writes: []write{granted}},
	{
		kind: "AddressRange", what: "a grant by two", refused: "epoch rises by exactly one",
		writes: []write{spec(func(o *addressRange) { o.Spec.Owner, o.Spec.Epoch = host1, 2 })},
	},
	{
		kind: "AddressRange", what: "a negative epoch", refused: "should be greater than or equal to 0",
		writes: []write{spec(func(o *addressRange) { o.Spec.Owner, o.Spec.Epoch = host1, -1 })},
	},
	{kind: "AddressRange", what: "a move", writes: []write{granted, moved}},
	{
		kind: "AddressRange", what: "a move that forgets the former owner", refused: "previousOwner is the owner just replaced",
		writes: []write{granted, spec(func(o *addressRange) { o.Spec.Owner, o.Spec.Epoch = host2, 2 })},
	},
	{
		kind: "AddressRange", what: "a move and another size at once", refused: "never both",
		writes: []write{granted, sealed, spec(func(o *addressRange) { moved.change(o); shrunk.change(o) })},
	},
	{kind: "AddressRange", what: "shrinking to what is sealed", writes: []write{granted, sealed, shrunk}},
	{kind: "AddressRange", what: "shrinking what is not sealed", refused: "only to what its owner has sealed", writes: []write{granted, shrunk}},
	{kind: "AddressRange", what: "shrinking to a former owner's seal", refused: "only to what its owner has sealed", writes: []write{granted, sealed, moved, shrunk}},
	{
		kind: "AddressRange", what: "growing", refused: "cidr may only shrink",
		writes: []write{shrunk, spec(func(o *addressRange) { o.Spec.CIDR = o.Name + "/24" })},
	},
	{
		kind: "AddressRange", what: "undoing a seal", refused: "a seal is undone only by a new epoch",
		writes: []write{granted, sealed, status(func(o *addressRange) { o.Status.Sealed = nil })},
	},
	{
		kind: "AddressRange", what: "undoing a seal in a new epoch",
		writes: []write{granted, sealed, moved, status(func(o *addressRange) { o.Status.ObservedEpoch, o.Status.Sealed = 2, nil })},
	},
	{kind: "AddressRange", what: "reservations", writes: []write{granted, reserving("7", "8")}},
	{kind: "AddressRange", what: "the same reservation twice", refused: "Duplicate value", writes: []write{granted, reserving("7", "7")}},
	{
		kind: "AddressRange", what: "a reservation elsewhere", refused: "every entry is an address of this range",
		writes: []write{granted, spec(func(o *addressRange) {
			o.Spec.Reserved = []v1alpha1.Reservation{{Address: "192.0.2.1", PodUID: "pod-1"}}
		})},
	},
}

// Steps in the life of a peer.
var (
	declared = spec(func(o *peer) {
		o.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: "removal-1", Heir: "host1"}
	})
	cancelled    = spec(func(o *peer) { o.Spec.Removal = nil })
	fencing      = status(func(o *peer) { o.Status.Phase = v1alpha1.PhaseFencing })
	transferring = status(func(o *peer) {
		o.Status.Phase = v1alpha1.PhaseTransferring
		o.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceLeaseExpired, Heir: host1, FencedTime: &metav1.Time{Time: metav1.Now().Rfc3339Copy().Time}}
	})
	removed = status(func(o *peer) { o.Status.Phase = v1alpha1.PhaseRemoved })
)

func underlay(addresses ...string) write {
	return status(func(o *peer) { o.Status.Underlay = addresses })
}

var peerRules = []rule{
	{kind: "Peer", what: "a removal to its end", writes: []write{underlay("192.0.2.3", "2001:db8::3"), declared, fencing, transferring, removed}},
	{kind: "Peer", what: "another name than the node's", refused: "a Peer is named after its node", draft: born(func(o *peer) { o.Spec.NodeName = "host9" })},
	{kind: "Peer", what: "a short instanceID", refused: "at least 8 chars", draft: born(func(o *peer) { o.Spec.InstanceID = "1" })},
	{kind: "Peer", what: "another instance", refused: "instanceID is immutable", writes: []write{spec(func(o *peer) { o.Spec.InstanceID = "instance-2" })}},
	{
		kind: "Peer", what: "itself as its heir", refused: "a peer cannot be its own heir",
		writes: []write{spec(func(o *peer) {
			o.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, Heir: o.Name}
		})},
	},
	{
		kind: "Peer", what: "another heir", refused: "removal declared already, heir host1",
		writes: []write{declared, spec(func(o *peer) { o.Spec.Removal.Heir = "host2" })},
	},
	{kind: "Peer", what: "a transfer without Fencing", refused: "Transferring follows Fencing", writes: []write{declared, transferring}},
	{
		kind: "Peer", what: "a transfer without evidence", refused: "no transfer without evidence",
		writes: []write{declared, fencing, status(func(o *peer) { o.Status.Phase = v1alpha1.PhaseTransferring })},
	},
	{kind: "Peer", what: "a transfer after a cancel", refused: "Transferring needs spec.removal", writes: []write{declared, fencing, cancelled, transferring}},
	{kind: "Peer", what: "a cancel in Fencing", writes: []write{declared, fencing, cancelled}},
	{kind: "Peer", what: "a cancel in Transferring", refused: "can be neither cancelled nor added", writes: []write{declared, fencing, transferring, cancelled}},
	{kind: "Peer", what: "back from Transferring", refused: "Transferring leads only to Removed", writes: []write{declared, fencing, transferring, fencing}},
	{
		kind: "Peer", what: "other evidence", refused: "evidence and heir are fixed",
		writes: []write{declared, fencing, transferring, status(func(o *peer) { o.Status.Removal.Evidence = v1alpha1.EvidenceAsserted })},
	},
	{kind: "Peer", what: "an underlay address from Fencing on", refused: "no address is accepted from Fencing on", writes: []write{declared, fencing, underlay("192.0.2.3")}},
	{kind: "Peer", what: "an underlay address that is none", refused: "not an IP address", writes: []write{underlay("192.0.2.3/32")}},
	{kind: "Peer", what: "an underlay address twice", refused: "Duplicate value", writes: []write{underlay("192.0.2.3", "192.0.2.3")}},
	{kind: "Peer", what: "an unknown phase", refused: "Unsupported value", writes: []write{status(func(o *peer) { o.Status.Phase = "Away" })}},
}

var declarationRules = []rule{
	{kind: "PeerRemoval", what: "an heir", draft: born(func(o *peerRemoval) { o.Spec.Heir = "host1" })},
	{kind: "PeerRemoval", what: "itself as its heir", refused: "a peer cannot be its own heir", draft: born(func(o *peerRemoval) { o.Spec.Heir = o.Name })},
	{
		kind: "PeerRemoval", what: "another heir", refused: "this removal was declared with heir host1",
		draft: born(func(o *peerRemoval) { o.Spec.Heir = "host1" }), writes: []write{spec(func(o *peerRemoval) { o.Spec.Heir = "host2" })},
	},
	{kind: "PeerRemoval", what: "assertDown added", writes: []write{spec(func(o *peerRemoval) { o.Spec.AssertDown = true })}},
	{
		kind: "PeerRemoval", what: "assertDown taken back", refused: "assertDown can be added, not taken back",
		draft: born(func(o *peerRemoval) { o.Spec.AssertDown = true }), writes: []write{spec(func(o *peerRemoval) { o.Spec.AssertDown = false })},
	},
	{kind: "AddressPool", what: "IPv6", draft: born(func(o *pool) { o.Spec.CIDR = "fd00:10::/64" })},
	{kind: "AddressPool", what: "host bits", refused: "host bits are set", draft: born(func(o *pool) { o.Spec.CIDR = "10.33.0.0/12" })},
	{kind: "AddressPool", what: "ranges that are longer than an address", refused: "longer than an address of this family", draft: born(func(o *pool) { o.Spec.RangePrefixLength = new(int32(33)) })},
	{kind: "AddressPool", what: "another cidr", refused: "cidr is immutable", writes: []write{spec(func(o *pool) { o.Spec.CIDR = "10.0.0.0/9" })}},
	{
		kind: "AddressPool", what: "an operator without values", refused: "matchExpressions: operator",
		draft: born(func(o *pool) {
			o.Spec.NodeSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "zone", Operator: "In"}}}
		}),
	},
}
