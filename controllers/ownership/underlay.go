// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"net/netip"
	"slices"
)

// underlays accepts the addresses that tunnel traffic of a peer may come from:
// those that it reports, its Node has, and no other current peer has. From
// Fencing on nothing is accepted any more.
func (d *decider) underlays() {
	holders := map[netip.Addr]*Peer{}
	peers := d.byName()
	for _, p := range peers {
		if !d.current(p) {
			continue
		}
		for _, a := range p.Underlay {
			if holders[a] == nil {
				holders[a] = p
			}
		}
	}
	for _, p := range peers {
		if !p.active() || p.Removal != nil || !p.Report.Present {
			continue
		}
		node := d.nodes[p.Name]
		if node == nil {
			continue // nothing is known: what was accepted stays
		}
		var accept []netip.Addr
		for _, a := range p.Report.Underlay {
			if !slices.Contains(node.Addresses, a) {
				continue
			}
			if other := holders[a]; other != nil && other != p {
				d.wait(kindPeer, p.Name, "UnderlayTaken", 0, "its address %s is peer %s's already: traffic of the second is dropped until one of them has another address", a, other.Name)
				continue
			}
			holders[a] = p
			accept = append(accept, a)
		}
		if slices.Equal(accept, p.Underlay) {
			continue
		}
		after := *p
		after.Underlay = accept
		d.write(UpdatePeerStatus{*p, after})
	}
}

// current: other peers accept its traffic.
func (d *decider) current(p *Peer) bool { return p.active() || p.Phase == Fencing }
