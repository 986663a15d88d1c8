// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// firstNodeState guesses, before the first Set, what Set will settle: an agent
// that starts again may be asked for a pod at once.
func (s *socket) firstNodeState(opts Options) (*nodeState, error) {
	node := &nodeState{mtu: opts.MTU}
	if node.mtu != 0 {
		return node, nil
	}
	links, err := s.links("")
	if err != nil {
		return nil, err
	}
	addrs, err := s.addresses()
	if err != nil {
		return nil, err
	}
	global := map[int]bool{}
	for _, a := range addrs {
		global[a.index] = global[a.index] || a.scope == unix.RT_SCOPE_UNIVERSE
	}
	node.mtu = maxMTU
	for _, l := range links {
		if l.name == opts.Device {
			node.mtu = l.mtu
			return node, nil
		}
		if l.up && !l.loopback && global[l.index] {
			node.mtu = min(node.mtu, opts.podMTU(l.mtu, netip.Addr{}))
		}
	}
	if node.mtu == maxMTU {
		node.mtu = opts.podMTU(defaultUnderlayMTU, netip.Addr{})
	}
	return node, nil
}
