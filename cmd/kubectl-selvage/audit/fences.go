// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// leaseRules: whoever is past the point of no return holds no lease any more,
// so that no allocation of its can be under way.
func leaseRules(s *inventory.State) []Finding {
	if !s.Has(inventory.Peers) || !s.Has(inventory.Leases) {
		return nil
	}
	var found []Finding
	for i := range s.Peers {
		p := &s.Peers[i]
		if !inventory.Gone(inventory.Phase(p)) {
			continue
		}
		lease, exists := s.Leases[p.Name]
		holder := inventory.Holder(&lease)
		switch {
		case !exists:
			found = append(found, Finding{Fenced, "peer/" + p.Name,
				fmt.Sprintf("it is %s, and its lease is gone: the controller creates it sealed", inventory.Phase(p)), true})
		case holder != v1alpha1.SealedHolder:
			found = append(found, Finding{Fenced, "peer/" + p.Name,
				fmt.Sprintf("it is %s, and its lease is not sealed but held by %q", inventory.Phase(p), holder), false})
		}
	}
	return found
}

// underlayRules: two current peers with one address would be heard as one.
func underlayRules(s *inventory.State) []Finding {
	if !s.Has(inventory.Peers) {
		return nil
	}
	var found []Finding
	by := map[netip.Addr]string{}
	for i := range s.Peers {
		p := &s.Peers[i]
		if inventory.Gone(inventory.Phase(p)) {
			continue
		}
		for _, text := range p.Status.Underlay {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				found = append(found, Finding{Fenced, "peer/" + p.Name, fmt.Sprintf("its accepted underlay address %q is none", text), false})
				continue
			}
			if other, taken := by[addr.Unmap()]; taken && other != p.Name {
				found = append(found, Finding{Fenced, "peer/" + p.Name,
					fmt.Sprintf("its accepted underlay address %s is also that of peer/%s", text, other), false})
				continue
			}
			by[addr.Unmap()] = p.Name
		}
	}
	return found
}

// out says whether a node counts as outside the reachable network: no current
// peer of it holds an unsealed lease. Its pods may still carry what they had.
func out(s *inventory.State, node string) bool {
	p := s.Peer(node)
	if p == nil || inventory.Gone(inventory.Phase(p)) {
		return true
	}
	lease, exists := s.Leases[node]
	uid, _, _ := strings.Cut(inventory.Holder(&lease), "/")
	return !exists || uid != string(p.UID)
}
