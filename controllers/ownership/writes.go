// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"fmt"
	"net/netip"
	"strings"
)

// RangeName is the name of the AddressRange that begins where p begins: an
// IPv4 address as it is, an IPv6 address in full with dashes.
func RangeName(p netip.Prefix) string {
	if p.Addr().Is4() {
		return p.Addr().String()
	}
	return strings.ReplaceAll(p.Addr().StringExpanded(), ":", "-")
}

// ParseRangeName is the first address of the AddressRange of that name.
func ParseRangeName(name string) (netip.Addr, error) {
	text := name
	if strings.Contains(name, "-") {
		text = strings.ReplaceAll(name, "-", ":")
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() || RangeName(netip.PrefixFrom(a, a.BitLen())) != name {
		return netip.Addr{}, fmt.Errorf("%q is not an AddressRange's name: 10.40.0.0, or IPv6 in full with dashes: fd00-0010-0000-0000-0000-0000-0000-0000", name)
	}
	return a, nil
}

func (r Ref) String() string {
	if r == (Ref{}) {
		return "nobody"
	}
	return r.Name
}

// Subject implements Write.
func (w CreateRange) Subject() string { return "AddressRange/" + RangeName(w.CIDR) }

func (w CreateRange) String() string {
	return fmt.Sprintf("claim %s of pool %s", w.CIDR, w.Pool)
}

// Subject implements Write.
func (w UpdateRange) Subject() string { return "AddressRange/" + w.Before.Name }

func (w UpdateRange) String() string {
	b, a := w.Before, w.After
	switch {
	case b.Owner != a.Owner:
		return fmt.Sprintf("range %s: owner %s -> %s, epoch %d", b.CIDR, b.Owner, a.Owner, a.Epoch)
	case b.CIDR != a.CIDR:
		return fmt.Sprintf("range %s: shrink to %s", b.CIDR, a.CIDR)
	case len(b.Reserved) != len(a.Reserved):
		return fmt.Sprintf("range %s: %d reserved -> %d", b.CIDR, len(b.Reserved), len(a.Reserved))
	case (b.Keep == nil) != (a.Keep == nil) || b.Keep != nil && *b.Keep != *a.Keep:
		return fmt.Sprintf("range %s: %s", b.CIDR, describeKeep(a.Keep))
	case b.PreviousOwner != a.PreviousOwner:
		return fmt.Sprintf("range %s: previous owner %s cleared", b.CIDR, b.PreviousOwner)
	}
	return fmt.Sprintf("range %s: update", b.CIDR)
}

func describeKeep(keep *netip.Prefix) string {
	switch {
	case keep == nil:
		return "no longer asked back"
	case !keep.IsValid():
		return "asked back"
	}
	return "asked back but for " + keep.String()
}

// Subject implements Write.
func (w DeleteRange) Subject() string { return "AddressRange/" + w.Range.Name }

func (w DeleteRange) String() string { return fmt.Sprintf("delete range %s", w.Range.CIDR) }

// Subject implements Write.
func (w UpdatePeer) Subject() string { return "Peer/" + w.Before.Name }

func (w UpdatePeer) String() string {
	b, a := w.Before, w.After
	what := "update"
	switch {
	case b.Removal == nil && a.Removal != nil:
		what = "removal accepted (" + string(a.Removal.Reason) + ")"
		if a.Removal.Heir != "" {
			what = "removal accepted (" + string(a.Removal.Reason) + ", heir " + a.Removal.Heir + ")"
		}
	case b.Removal != nil && a.Removal == nil:
		what = "removal cancelled"
	case b.Removal != nil && *b.Removal != *a.Removal:
		what = fmt.Sprintf("removal: assertDown %t, cutOff %t", a.Removal.AssertDown, a.Removal.CutOff)
	case b.NodeUID != a.NodeUID:
		what = "nodeUID " + a.NodeUID
	case b.Finalizer != a.Finalizer:
		what = fmt.Sprintf("finalizer %t", a.Finalizer)
	}
	return "peer " + b.Name + ": " + what
}

// Subject implements Write.
func (w UpdatePeerStatus) Subject() string { return "Peer/" + w.Before.Name }

func (w UpdatePeerStatus) String() string {
	b, a := w.Before, w.After
	if b.Phase == a.Phase {
		return fmt.Sprintf("peer %s: underlay %v", b.Name, a.Underlay)
	}
	s := fmt.Sprintf("peer %s: %s", b.Name, a.Phase)
	if a.Phase == Transferring && a.Result != nil {
		s += fmt.Sprintf(" (%s, to %s)", a.Result.Evidence, a.Result.Heir)
	}
	return s
}

// Subject implements Write.
func (w DeletePeer) Subject() string { return "Peer/" + w.Peer.Name }

func (w DeletePeer) String() string { return "peer " + w.Peer.Name + ": delete" }

// Subject implements Write.
func (w SealLease) Subject() string { return "Lease/" + w.Before.Name }

func (w SealLease) String() string {
	return fmt.Sprintf("lease %s: seal for %s", w.Before.Name, strings.Join(w.SealedFor, ","))
}

// Subject implements Write.
func (w DeleteLease) Subject() string { return "Lease/" + w.Lease.Name }

func (w DeleteLease) String() string { return "lease " + w.Lease.Name + ": delete" }

// Subject implements Write.
func (w UpdateDeclaration) Subject() string { return "PeerRemoval/" + w.Before.Name }

func (w UpdateDeclaration) String() string {
	return fmt.Sprintf("removal %s: finalizer %t", w.Before.Name, w.After.Finalizer)
}

// Subject implements Write.
func (w UpdatePool) Subject() string { return "AddressPool/" + w.Before.Name }

func (w UpdatePool) String() string {
	a := w.After
	return fmt.Sprintf("pool %s: finalizer %t, claimed %t, accepted %t", a.Name, a.Finalizer, a.Claimed, a.Accepted)
}
