// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Key names an attachment: an interface of a sandbox in a network. The network
// is part of it because a pod may be attached to several (Multus).
type Key struct{ Network, Sandbox, IfName string }

// String is for logs and errors.
func (k Key) String() string { return k.Network + "/" + k.Sandbox + "/" + k.IfName }

// Range is an owned range of addresses, as membership admits it.
type Range struct {
	// Name, UID and Pool are the AddressRange's, Epoch its fencing token.
	Name, UID, Pool string
	CIDR            netip.Prefix
	Epoch           int64
	// Keep bounds allocation: nil is the whole range, the zero Prefix nothing.
	// Addresses outside it that are held stay held.
	Keep *netip.Prefix
	// Withheld addresses are never handed out: the reserved ones, and the
	// peer's own.
	Withheld []netip.Addr
}

// Families is a set of address families.
type Families uint8

// The address families.
const (
	V4 Families = 1 << iota
	V6
)

// String is for logs and errors.
func (f Families) String() string {
	var names []string
	if f&V4 != 0 {
		names = append(names, "IPv4")
	}
	if f&V6 != 0 {
		names = append(names, "IPv6")
	}
	return strings.Join(names, " and ")
}

// FamilyOf is the family of an address or prefix; an IPv4 address in an IPv6
// form counts as IPv4.
func FamilyOf(a netip.Addr) Families {
	if a.Unmap().Is4() {
		return V4
	}
	return V6
}

// Request says what an attachment asks for.
type Request struct {
	// Want are addresses asked for by name, at most one per family: each is
	// given if it is owned, free and not withheld, or the request fails.
	Want []netip.Addr
	// Families are those in which an address is needed; 0 is every family that
	// the ledger has ranges of.
	Families Families
}

// PoolUse is how much of a pool's ranges is handed out.
type PoolUse struct {
	// Used addresses are held by attachments.
	Used int64
	// Capacity is Used and what may be handed out besides: withheld addresses
	// and those outside Keep are not in it.
	Capacity int64
}

type reason uint8

const (
	exhausted reason = iota
	refused
	suspended
)

// allocationError is an error that answers why nothing was allocated.
type allocationError struct {
	why   reason
	text  string
	cause error
}

func (e *allocationError) Error() string {
	if e.cause != nil {
		return e.text + ": " + e.cause.Error()
	}
	return e.text
}

func (e *allocationError) Unwrap() error { return e.cause }

func is(err error, why reason) bool {
	var e *allocationError
	return errors.As(err, &e) && e.why == why
}

// IsExhausted reports whether err says that no address is free: more space, or
// the end of another pod, would help.
func IsExhausted(err error) bool { return is(err, exhausted) }

// IsRefused reports whether err says that an address asked for by name cannot
// be given.
func IsRefused(err error) bool { return is(err, refused) }

// IsSuspended reports whether err says that the peer may not allocate now.
func IsSuspended(err error) bool { return is(err, suspended) }

func refusal(format string, args ...any) error {
	return &allocationError{why: refused, text: fmt.Sprintf(format, args...)}
}
