// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package atlas

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Mark says what is to be known about a range beside its owner.
type Mark string

// The marks. Where ranges share a cell of the drawing, the one that is later
// in Marks is shown.
const (
	AtRest Mark = ""
	// Claimed: made, and not owned yet.
	Claimed Mark = "claimed"
	// Returned: it has had an owner, and is not free yet.
	Returned Mark = "returned"
	// AskedBack: its owner is asked for a part, or all of it.
	AskedBack Mark = "asked-back"
	// Sealed: its owner has promised not to use what is asked back.
	Sealed Mark = "sealed"
	// Leaving: the removal of its owner is under way.
	Leaving Mark = "leaving"
	// InTransfer: it goes to an heir, or is the heir's, whose agent has not
	// taken it up yet.
	InTransfer Mark = "in-transfer"
	// Silent: its owner holds no lease.
	Silent Mark = "silent"
	// Orphaned: its owner is no Peer, or one that is removed.
	Orphaned Mark = "orphaned"
)

// Marks lists every mark, the least urgent first.
func Marks() []Mark {
	return []Mark{AtRest, Claimed, Returned, AskedBack, Sealed, Leaving, InTransfer, Silent, Orphaned}
}

var urgency = func() map[Mark]int {
	ranks := map[Mark]int{}
	for i, m := range Marks() {
		ranks[m] = i
	}
	return ranks
}()

// Moves says that a range's owner or size is about to change, or that nobody
// answers for it. An owner that is merely silent keeps its ranges.
func (m Mark) Moves() bool { return m != AtRest && m != Silent }

// people is who there is, by uid: ranges name their owners so.
type people struct {
	read   bool
	peers  map[types.UID]*v1alpha1.Peer
	leases map[string]coordinationv1.Lease
	heard  bool
}

func census(s *inventory.State) *people {
	p := &people{
		read: s.Has(inventory.Peers), peers: make(map[types.UID]*v1alpha1.Peer, len(s.Peers)),
		heard: s.Has(inventory.Leases), leases: s.Leases,
	}
	for i := range s.Peers {
		p.peers[s.Peers[i].UID] = &s.Peers[i]
	}
	return p
}

// state is what is to be known about an owner. What was not read is not
// taken for wrong.
func (k *people) state(o *v1alpha1.PeerReference) OwnerState {
	if !k.read {
		return Well
	}
	p := k.peers[o.UID]
	if p == nil {
		return Gone
	}
	switch phase := inventory.Phase(p); {
	case phase == v1alpha1.PhaseRemoved:
		return Gone
	case phase == v1alpha1.PhaseTransferring:
		return Transferring
	case phase == v1alpha1.PhaseFencing || p.Spec.Removal != nil:
		return Fencing
	}
	if !k.heard {
		return Well
	}
	if lease, found := k.leases[p.Name]; !found || inventory.Holder(&lease) == v1alpha1.SealedHolder {
		return Unreachable
	}
	return Well
}

// piece tells one range.
func (k *people) piece(r *v1alpha1.AddressRange) Piece {
	p := Piece{
		Range: r.Spec.CIDR, prefix: inventory.Prefix(r.Spec.CIDR), owner: nobody,
		Used: r.Status.Used, Reserved: len(r.Spec.Reserved),
	}
	if r.Spec.PreviousOwner != nil {
		p.From = r.Spec.PreviousOwner.Name
	}
	if r.Spec.Owner == nil {
		p.Used = 0 // nobody's report: a former owner's
		p.Mark = Returned
		if r.Spec.Epoch == 0 {
			p.Mark = Claimed
		}
		return p
	}
	p.mark(k, r)
	return p
}

func (p *Piece) mark(k *people, r *v1alpha1.AddressRange) {
	owner := r.Spec.Owner.Name
	state := k.state(r.Spec.Owner)
	switch {
	case state == Gone:
		p.Mark, p.From, p.To = Orphaned, owner, ""
	case state == Transferring:
		p.Mark, p.From, p.To = InTransfer, owner, k.heir(r.Spec.Owner)
	case state == Fencing:
		p.Mark, p.From, p.To = Leaving, owner, k.heir(r.Spec.Owner)
	case r.Spec.PreviousOwner != nil:
		p.Mark, p.To = InTransfer, owner
	case r.Spec.Keep != nil && r.Status.Sealed != nil && r.Status.Sealed.Epoch == r.Spec.Epoch:
		p.Mark, p.From = Sealed, owner
	case r.Spec.Keep != nil:
		p.Mark, p.From = AskedBack, owner
	case state == Unreachable:
		p.Mark, p.To = Silent, owner
	default:
		p.To = owner
	}
}

// heir is where the ranges of a peer that goes are going; empty: their pool.
func (k *people) heir(o *v1alpha1.PeerReference) string {
	p := k.peers[o.UID]
	if res := p.Status.Removal; res != nil && res.Heir != nil {
		return res.Heir.Name
	}
	if p.Spec.Removal != nil {
		return p.Spec.Removal.Heir
	}
	return ""
}
