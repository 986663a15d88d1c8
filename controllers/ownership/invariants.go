// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"fmt"
	"net/netip"
)

// The invariants, by the names that code, tests and error texts use.
const (
	// Disjoint: no two ranges that have an owner overlap.
	Disjoint = "Disjoint"
	// OneHeir: every removal has at most one heir, the one that was declared,
	// and all ranges of the removed peer go the same way.
	OneHeir = "OneHeir"
	// NoLoss: nothing stays unowned, or in the hands of someone gone, for
	// ever; what is reserved is not freed.
	NoLoss = "NoLoss"
	// Monotone: a range's epoch rises by one exactly when its owner changes,
	// and a removal goes one way from Transferring on.
	Monotone = "Monotone"
	// Fenced: a range changes owner only after its old owner can start no
	// allocation, and nothing that it still finishes can be heard.
	Fenced = "Fenced"
	// WellFormed: names, CIDRs and reservations say what they must.
	WellFormed = "WellFormed"
)

// Violation is a broken invariant.
type Violation struct {
	// Invariant is one of the names above.
	Invariant string
	// Kind and Name of the object that breaks it.
	Kind, Name string
	Message    string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s %s: %s", v.Invariant, v.Kind, v.Name, v.Message)
}

const kindRange = "AddressRange"

// checker collects violations.
type checker []Violation

func (c *checker) add(invariant, kind, name, format string, args ...any) {
	*c = append(*c, Violation{invariant, kind, name, fmt.Sprintf(format, args...)})
}

// Check returns what is broken in one snapshot: it holds at every moment,
// whatever has crashed. It costs n log n.
func Check(s *Snapshot) []Violation {
	var c checker
	c.disjoint(s)
	pools := map[string]*Pool{}
	for i := range s.Pools {
		p := &s.Pools[i]
		pools[p.Name] = p
		for j := range s.Pools[:i] {
			if q := &s.Pools[j]; p.Accepted && q.Accepted && p.CIDR.Overlaps(q.CIDR) {
				c.add(Disjoint, kindPool, p.Name, "%s overlaps %s of pool %s, and both are accepted", p.CIDR, q.CIDR, q.Name)
			}
		}
	}
	for i := range s.Ranges {
		c.wellFormed(&s.Ranges[i], pools[s.Ranges[i].Pool])
	}
	for i := range s.Peers {
		c.verdict(&s.Peers[i])
	}
	return c
}

func (c *checker) disjoint(s *Snapshot) {
	var around []*Range
	for _, r := range sortedRanges(s) {
		if r.Owner == (Ref{}) {
			continue
		}
		for len(around) > 0 && !around[len(around)-1].CIDR.Overlaps(r.CIDR) {
			around = around[:len(around)-1]
		}
		for _, outer := range around {
			c.add(Disjoint, kindRange, r.Name, "%s of %s overlaps %s of %s", r.CIDR, r.Owner.Name, outer.CIDR, outer.Owner.Name)
		}
		around = append(around, r)
	}
}

func (c *checker) wellFormed(r *Range, pool *Pool) {
	if !r.CIDR.IsValid() || r.CIDR != r.CIDR.Masked() {
		c.add(WellFormed, kindRange, r.Name, "%s is not a canonical CIDR", r.CIDR)
		return
	}
	if r.Name != RangeName(r.CIDR) {
		c.add(WellFormed, kindRange, r.Name, "named otherwise than its first address %s", r.CIDR.Addr())
	}
	if pool != nil && pool.CIDR.IsValid() && (pool.CIDR.Bits() > r.CIDR.Bits() || !pool.CIDR.Contains(r.CIDR.Addr())) {
		c.add(WellFormed, kindRange, r.Name, "%s is not of pool %s (%s)", r.CIDR, pool.Name, pool.CIDR)
	}
	if (r.Owner.Name == "") != (r.Owner.UID == "") {
		c.add(WellFormed, kindRange, r.Name, "an owner has a name and a uid")
	}
	if r.Epoch < 0 || r.Epoch == 0 && (r.Owner != (Ref{}) || r.PreviousOwner != (Ref{}) || len(r.Reserved) > 0) {
		c.add(Monotone, kindRange, r.Name, "epoch %d is a claim, which has no owner and no reservations", r.Epoch)
	}
	seen := map[netip.Addr]bool{}
	for _, res := range r.Reserved {
		if !r.CIDR.Contains(res.Address) || seen[res.Address] {
			c.add(WellFormed, kindRange, r.Name, "reserved %s: not of this range, or twice", res.Address)
		}
		seen[res.Address] = true
	}
}

func (c *checker) verdict(p *Peer) {
	if p.Phase != Transferring && p.Phase != Removed {
		return
	}
	if p.Result == nil || p.Result.Evidence == "" {
		c.add(OneHeir, kindPeer, p.Name, "%s without evidence", p.Phase)
		return
	}
	if p.Removal == nil {
		c.add(OneHeir, kindPeer, p.Name, "%s without a removal", p.Phase)
		return
	}
	if p.Result.Heir.Name != p.Removal.Heir {
		c.add(OneHeir, kindPeer, p.Name, "declared with heir %q, taken over by %q", p.Removal.Heir, p.Result.Heir.Name)
	}
	if p.Result.Heir.Name == p.Name {
		c.add(OneHeir, kindPeer, p.Name, "its own heir")
	}
}

// CheckStep returns what is broken between two snapshots, the later one taken
// after a single write or after many that changed each object at most once.
func CheckStep(before, after *Snapshot) []Violation {
	var c checker
	peers := map[string]*Peer{}
	for i := range before.Peers {
		peers[before.Peers[i].UID] = &before.Peers[i]
	}
	for i := range after.Peers {
		now := &after.Peers[i]
		if was := peers[now.UID]; was != nil {
			c.phases(was, now)
		}
		peers[now.UID] = now
	}
	left := map[string]*Range{}
	for i := range before.Ranges {
		left[before.Ranges[i].UID] = &before.Ranges[i]
	}
	for i := range after.Ranges {
		now := &after.Ranges[i]
		was := left[now.UID]
		delete(left, now.UID)
		if was == nil {
			if now.Epoch != 0 || now.Owner != (Ref{}) {
				c.add(Monotone, kindRange, now.Name, "made with epoch %d and owner %s: a range begins as a claim", now.Epoch, now.Owner)
			}
			continue
		}
		c.ownerStep(was, now, peers)
		c.sizeStep(was, now)
	}
	for _, gone := range left {
		if gone.Owner != (Ref{}) || len(gone.Reserved) > 0 {
			c.add(NoLoss, kindRange, gone.Name, "deleted while owned by %s, with %d reserved", gone.Owner, len(gone.Reserved))
		}
	}
	return c
}

func (c *checker) phases(was, now *Peer) {
	order := map[Phase]int{"": 0, Active: 0, Fencing: 1, Transferring: 2, Removed: 3}
	from, to := order[was.Phase], order[now.Phase]
	if from >= 2 && to < from || from < 2 && to == 3 || from == 0 && to == 2 {
		c.add(Monotone, kindPeer, now.Name, "phase %s -> %s", was.Phase, now.Phase)
	}
	if from < 2 {
		return
	}
	if was.Result != nil && (now.Result == nil || was.Result.Heir != now.Result.Heir || was.Result.Evidence != now.Result.Evidence) {
		c.add(OneHeir, kindPeer, now.Name, "heir or evidence changed after %s", was.Phase)
	}
	if was.Removal != nil && (now.Removal == nil || now.Removal.Heir != was.Removal.Heir) {
		c.add(OneHeir, kindPeer, now.Name, "the removal changed after %s", was.Phase)
	}
}

func (c *checker) ownerStep(was, now *Range, peers map[string]*Peer) {
	if was.Owner == now.Owner {
		if now.Epoch != was.Epoch {
			c.add(Monotone, kindRange, now.Name, "epoch %d -> %d, the owner being the same", was.Epoch, now.Epoch)
		}
		return
	}
	if now.Epoch != was.Epoch+1 {
		c.add(Monotone, kindRange, now.Name, "epoch %d -> %d as the owner changed", was.Epoch, now.Epoch)
	}
	if was.Owner == (Ref{}) {
		return
	}
	if now.PreviousOwner != was.Owner {
		c.add(Monotone, kindRange, now.Name, "previous owner %s, not %s", now.PreviousOwner, was.Owner)
	}
	gaveBack := was.Sealed != nil && was.Sealed.Epoch == was.Epoch && !was.Sealed.Keep.IsValid()
	p := peers[was.Owner.UID]
	switch {
	case gaveBack && now.Owner == (Ref{}):
	case p == nil && now.Owner != (Ref{}):
		c.add(OneHeir, kindRange, now.Name, "%s is gone, and %s got its range", was.Owner, now.Owner)
	case p == nil:
	case p.Phase != Transferring && p.Phase != Removed:
		c.add(Fenced, kindRange, now.Name, "taken from %s, which is %s and has not given it back", was.Owner, p.Phase)
	case p.Result != nil && now.Owner != p.Result.Heir:
		c.add(OneHeir, kindRange, now.Name, "of %s goes to %s, its heir being %s", was.Owner, now.Owner, p.Result.Heir)
	}
}

func (c *checker) sizeStep(was, now *Range) {
	if was.CIDR == now.CIDR {
		return
	}
	if was.Owner != now.Owner || now.CIDR.Addr() != was.CIDR.Addr() || now.CIDR.Bits() < was.CIDR.Bits() {
		c.add(Monotone, kindRange, now.Name, "%s -> %s: a range only shrinks, and keeps its owner and first address", was.CIDR, now.CIDR)
	}
	kept := was.Sealed != nil && was.Sealed.Epoch == was.Epoch && (!was.Sealed.Keep.IsValid() || now.CIDR.Bits() <= was.Sealed.Keep.Bits())
	if was.Owner != (Ref{}) && !kept {
		c.add(Fenced, kindRange, now.Name, "shrinks to %s, which %s has not sealed", now.CIDR, was.Owner)
	}
	for _, res := range was.Reserved {
		if !now.CIDR.Contains(res.Address) {
			c.add(NoLoss, kindRange, now.Name, "shrinks to %s past reserved %s", now.CIDR, res.Address)
		}
	}
}

// Unsettled returns what is on its way: true of a cluster for moments, and a
// broken NoLoss if it lasts.
func Unsettled(s *Snapshot) []Violation {
	var c checker
	peers := map[string]*Peer{}
	for i := range s.Peers {
		p := &s.Peers[i]
		peers[p.UID] = p
		if p.Removal != nil && p.Phase != Removed {
			c.add(NoLoss, kindPeer, p.Name, "its removal is under way (%s)", p.Phase)
		}
	}
	for i := range s.Ranges {
		r := &s.Ranges[i]
		switch p := peers[r.Owner.UID]; {
		case r.Epoch == 0:
			c.add(NoLoss, kindRange, r.Name, "%s is claimed for nobody", r.CIDR)
		case r.Owner == (Ref{}) && len(r.Reserved) == 0:
			c.add(NoLoss, kindRange, r.Name, "%s has no owner", r.CIDR)
		case r.Owner == (Ref{}):
		case p == nil:
			c.add(NoLoss, kindRange, r.Name, "%s is owned by %s (%s), which is gone", r.CIDR, r.Owner.Name, r.Owner.UID)
		case p.Phase == Removed:
			c.add(NoLoss, kindRange, r.Name, "%s is owned by %s, which is removed", r.CIDR, r.Owner.Name)
		}
	}
	return c
}
