// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
)

var errUnfinished = errors.New("datapath: not yet")

// Underlay says what to report to the other peers: those of the node's
// addresses that this host has, the one that tunnels use first, and the
// hardware address of its VTEP (of its network card where direct traffic is
// taken).
func (k *Kernel) Underlay(nodeAddrs []netip.Addr) (addrs []netip.Addr, mac string, err error) {
	return nil, "", errUnfinished
}

// Set brings the kernel to the desired state: it reads, plans and applies. It
// is idempotent and is to be called again from time to time, since others
// (network managers, people) change the kernel too.
func (k *Kernel) Set(d Desired) error { return errUnfinished }
