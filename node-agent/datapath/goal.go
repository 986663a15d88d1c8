// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import "net/netip"

const (
	defaultUnderlayMTU = 1500
	// What VXLAN puts around a frame: the frame's own header, VXLAN's, UDP's
	// and the outer IP header.
	overhead4 = 14 + 8 + 8 + 20
	overhead6 = 14 + 8 + 8 + 40
)

// podMTU is what fits a pod's packet over an underlay.
func (o Options) podMTU(underlay int, tunnel netip.Addr) int {
	switch {
	case o.MTU != 0:
		return o.MTU
	case o.Encapsulation == Direct:
		return underlay
	case tunnel.Is6():
		return max(underlay-overhead6, minMTU)
	default:
		return max(underlay-overhead4, minMTU)
	}
}
