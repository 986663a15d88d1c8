// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// poolRules: accepted pools do not overlap, and every range lies in one.
func poolRules(s *inventory.State) []Finding {
	if !s.Has(inventory.Pools) {
		return nil
	}
	var found []Finding
	byName := map[string]*v1alpha1.AddressPool{}
	for i := range s.Pools {
		p := &s.Pools[i]
		byName[p.Name] = p
		for j := range s.Pools[:i] {
			q := &s.Pools[j]
			if display.Accepted(p) && display.Accepted(q) && inventory.Prefix(p.Spec.CIDR).Overlaps(inventory.Prefix(q.Spec.CIDR)) {
				found = append(found, Finding{Disjoint, "addresspool/" + p.Name,
					fmt.Sprintf("%s overlaps %s of addresspool/%s, and both are accepted", p.Spec.CIDR, q.Spec.CIDR, q.Name), false})
			}
		}
	}
	if !s.Has(inventory.Ranges) {
		return found
	}
	for i := range s.Ranges {
		r := &s.Ranges[i]
		add := func(format string, args ...any) {
			found = append(found, Finding{Disjoint, rangeName(r), fmt.Sprintf(format, args...), r.Spec.Epoch == 0})
		}
		pool := byName[r.Spec.Pool]
		switch {
		case pool == nil:
			add("%s is cut from addresspool/%s, which does not exist", r.Spec.CIDR, r.Spec.Pool)
		case !display.Accepted(pool):
			add("%s is cut from addresspool/%s, which is not accepted", r.Spec.CIDR, pool.Name)
		}
	}
	return found
}

// unownedRules: what nobody owns overlaps nothing either. A claim (epoch 0) may
// for a moment: it is verified before anybody owns it. That no two owned ranges
// overlap is for coreRules.
func unownedRules(s *inventory.State) []Finding {
	if !s.Has(inventory.Ranges) {
		return nil
	}
	var found []Finding
	var open []*v1alpha1.AddressRange // those that hold the next one, outermost first
	for i := range s.Ranges {
		r := &s.Ranges[i]
		cidr := inventory.Prefix(r.Spec.CIDR)
		for len(open) > 0 && !inventory.Prefix(open[len(open)-1].Spec.CIDR).Overlaps(cidr) {
			open = open[:len(open)-1]
		}
		for _, outer := range open {
			if r.Spec.Owner != nil && outer.Spec.Owner != nil {
				continue
			}
			found = append(found, Finding{Disjoint, rangeName(r),
				fmt.Sprintf("%s overlaps %s of %s", r.Spec.CIDR, outer.Spec.CIDR, rangeName(outer)), r.Spec.Epoch == 0 || outer.Spec.Epoch == 0})
		}
		open = append(open, r)
	}
	return found
}

// ownerRules: owners exist, epochs are not ahead, and a removed peer's ranges
// are where its removal says.
func ownerRules(s *inventory.State) []Finding {
	if !s.Has(inventory.Ranges) {
		return nil
	}
	peers := map[types.UID]*v1alpha1.Peer{}
	for i := range s.Peers {
		peers[s.Peers[i].UID] = &s.Peers[i]
	}
	var found []Finding
	for i := range s.Ranges {
		r := &s.Ranges[i]
		if r.Status.ObservedEpoch > r.Spec.Epoch {
			found = append(found, Finding{Monotone, rangeName(r),
				fmt.Sprintf("its agent acts on epoch %d, and the record says %d: was etcd restored from a backup?", r.Status.ObservedEpoch, r.Spec.Epoch), false})
		}
		if s.Has(inventory.Peers) {
			found = append(found, ownerRule(r, peers)...)
		}
	}
	return found
}

func ownerRule(r *v1alpha1.AddressRange, peers map[types.UID]*v1alpha1.Peer) []Finding {
	var found []Finding
	if o := r.Spec.Owner; o != nil {
		p := peers[o.UID]
		switch {
		case p == nil:
			found = append(found, Finding{NoLoss, rangeName(r),
				fmt.Sprintf("owned by %s with uid %s, and there is no such Peer: the controller fences it and takes it back", o.Name, o.UID), false})
		case p.Name != o.Name:
			found = append(found, Finding{OneHeir, rangeName(r),
				fmt.Sprintf("owned by %s with uid %s, which is the uid of %s", o.Name, o.UID, p.Name), false})
		case inventory.Phase(p) == v1alpha1.PhaseRemoved:
			found = append(found, Finding{OneHeir, rangeName(r),
				fmt.Sprintf("still owned by %s, which is Removed: the controller sends it where that removal sent the others", o.Name), false})
		}
	}
	if prev := r.Spec.PreviousOwner; prev != nil {
		found = append(found, heirRule(r, prev, peers)...)
	}
	return found
}

// heirRule: what a removed peer owned last has gone to its heir, or, without
// one, back to the pool, from where anybody may have been granted it.
func heirRule(r *v1alpha1.AddressRange, prev *v1alpha1.PeerReference, peers map[types.UID]*v1alpha1.Peer) []Finding {
	p := peers[prev.UID]
	if p == nil || !inventory.Gone(inventory.Phase(p)) || p.Status.Removal == nil || p.Status.Removal.Heir == nil {
		return nil
	}
	heir := p.Status.Removal.Heir
	if o := r.Spec.Owner; o == nil || o.UID != heir.UID {
		owner := "nobody"
		if o != nil {
			owner = o.Name
		}
		return []Finding{{OneHeir, rangeName(r), fmt.Sprintf("went from %s to %s, and the heir is %s", prev.Name, owner, heir.Name), false}}
	}
	return nil
}

func rangeName(r *v1alpha1.AddressRange) string { return "addressrange/" + r.Name }

// covering finds the range that covers an address, or nil.
func covering(s *inventory.State, addr netip.Addr) *v1alpha1.AddressRange {
	for i := range s.Ranges {
		if inventory.Prefix(s.Ranges[i].Spec.CIDR).Contains(addr) {
			return &s.Ranges[i]
		}
	}
	return nil
}
