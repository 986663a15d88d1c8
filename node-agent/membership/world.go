// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// orphanGrace is how long a Peer must have been missing while its ranges are
// there before it counts as removed: a CRD that is deleted by mistake loses
// its objects one by one, and none of them is to be cut off for it.
const orphanGrace = 10 * time.Second

// world is the network as this agent believes it to be: what the API says, and
// what it said before where the API has forgotten it. It is changed by fold
// alone, which is pure but for that.
type world struct {
	// self is the incarnation whose ranges are own.
	self string
	// peers are the current peers, this one included, by uid.
	peers map[string]*remotePeer
	// ranges are all that have an owner, by uid.
	ranges map[string]*heldRange
	// epochs are the highest seen, by the range's uid.
	// Invariant: an entry never falls.
	epochs map[string]int64
	// cut are removed incarnations: never heard again, whatever a cache says.
	cut map[string]bool
	// relevant are those of cut that the API still shows, or shows as owners.
	relevant []string
	// orphans are owners that no Peer is, and since when.
	orphans map[string]time.Duration
	// regressed says what the API has forgotten; empty: nothing. A cache that
	// lags behind shows the same: what it shows is a suspicion, which a
	// consistent view settles.
	regressed string
	suspicion string
	// answers are seals that this process has promised, by the range's uid:
	// they hold from before they are written.
	answers map[string]seal
	// complete: everything above rests on a consistent view that had this
	// peer in it, so that what is missing from it may go from the kernel.
	complete bool
}

// seal is a promise about one epoch of a range.
type seal struct {
	epoch int64
	keep  netip.Prefix
}

// remotePeer is a current peer.
type remotePeer struct {
	name     string
	underlay []netip.Addr
	vtep     string
	// gone: the API has forgotten it, without a removal that was seen.
	gone bool
}

// heldRange is a range that has an owner.
type heldRange struct {
	uid, name, pool string
	cidr            netip.Prefix
	owner           string
	epoch           int64
	reserved        []netip.Addr
	// keep is what allocation is bounded to: what is asked back and what is
	// sealed; nil: nothing is.
	keep *netip.Prefix
	// asked is spec.keep, answered status.sealed of this epoch.
	asked, answered *netip.Prefix
	// gone: the API has forgotten it while it was owned.
	gone bool
}

func newWorld(self string, remembered map[string]RangeRecord) *world {
	w := &world{
		self: self, peers: map[string]*remotePeer{}, ranges: map[string]*heldRange{}, epochs: map[string]int64{},
		cut: map[string]bool{}, orphans: map[string]time.Duration{}, answers: map[string]seal{},
	}
	for uid, held := range remembered {
		w.epochs[uid] = held.Epoch
	}
	return w
}

// fold takes a view in. A strict fold, before a Lease is taken, believes the
// view alone: a peer that it does not show is cut off. Otherwise what vanished
// without a removal is kept, since deleting it may have been a mistake.
func (w *world) fold(v *View, now time.Duration, strict bool, record Record) {
	w.suspicion = ""
	present := w.foldPeers(v)
	w.foldRanges(v, record)
	for uid, p := range w.peers {
		p.gone = !present[uid]
	}
	w.foldOrphans(v, present, now, strict)
	for uid, p := range w.peers {
		if p.gone && (strict || w.replaced(uid, p)) {
			delete(w.peers, uid)
		}
	}
	for uid, r := range w.ranges {
		if r.gone && (w.superseded(r) || (w.peers[r.owner] == nil && r.owner != w.self)) {
			delete(w.ranges, uid)
		}
	}
	if v.Consistent {
		w.regressed = w.suspicion
	}
	w.complete = w.complete || (v.Consistent && present[w.self])
}

// foldPeers takes current peers in and cuts removed ones off.
func (w *world) foldPeers(v *View) (present map[string]bool) {
	present = make(map[string]bool, len(v.Peers))
	for i := range v.Peers {
		p := &v.Peers[i]
		uid := string(p.UID)
		present[uid] = true
		if phaseOf(p) == Gone && uid != w.self {
			w.cut[uid] = true
		}
		if w.cut[uid] {
			delete(w.peers, uid)
			continue
		}
		remote := &remotePeer{name: p.Name, underlay: parseAddrs(p.Status.Underlay)}
		if p.Status.Agent != nil {
			remote.vtep = p.Status.Agent.VTEP
		}
		w.peers[uid] = remote
	}
	return present
}

func (w *world) foldRanges(v *View, record Record) {
	shown := make(map[string]bool, len(v.Ranges))
	for i := range v.Ranges {
		r := &v.Ranges[i]
		uid := string(r.UID)
		shown[uid] = true
		if seen := w.epochs[uid]; r.Spec.Epoch < seen {
			w.suspect(fmt.Sprintf("range %s shows epoch %d, and this agent has seen %d", r.Name, r.Spec.Epoch, seen))
			continue
		}
		w.epochs[uid] = r.Spec.Epoch
		held, ok := parseRange(r)
		if !ok {
			delete(w.ranges, uid)
			continue
		}
		if promised, ok := w.answers[uid]; ok && promised.epoch == held.epoch {
			held.keep = narrower(held.keep, &promised.keep)
		} else {
			delete(w.answers, uid)
		}
		w.ranges[uid] = held
	}
	for uid, held := range w.ranges {
		held.gone = !shown[uid]
	}
	for uid, held := range record.Ranges {
		if held.Owned && !held.GivenBack && !shown[uid] && !w.ownsAll(v, held.CIDR) {
			w.suspect(fmt.Sprintf("range %s, which this peer owned in epoch %d, is missing", held.Name, held.Epoch))
		}
	}
}

// suspect notes the first thing that the API seems to have forgotten.
func (w *world) suspect(what string) {
	if w.suspicion == "" || what < w.suspicion {
		w.suspicion = what
	}
}

// unsettled reports whether a view that was not consistent shows something
// forgotten, or found again, that a consistent one has yet to confirm.
func (w *world) unsettled() bool { return w.suspicion != w.regressed }

// promise records a seal before it is written.
func (w *world) promise(r *heldRange, keep netip.Prefix) {
	w.answers[r.uid] = seal{epoch: r.epoch, keep: keep}
	r.keep = narrower(r.keep, &keep)
}

// ownsAll reports whether the view has an owner for the first address of the
// CIDR: then a missing range was made anew, and is not missed.
func (w *world) ownsAll(v *View, cidr netip.Prefix) bool {
	return slices.ContainsFunc(v.Ranges, func(r v1alpha1.AddressRange) bool {
		at, err := netip.ParsePrefix(r.Spec.CIDR)
		return err == nil && r.Spec.Owner != nil && at.Contains(cidr.Addr())
	})
}

// foldOrphans cuts off owners that no Peer is: at once if that is certain, and
// else once they have been missing for a while and this peer has not.
func (w *world) foldOrphans(v *View, present map[string]bool, now time.Duration, strict bool) {
	owners := map[string]bool{}
	for i := range v.Ranges {
		if owner := v.Ranges[i].Spec.Owner; owner != nil {
			owners[string(owner.UID)] = true
		}
	}
	for uid := range owners {
		if present[uid] || uid == w.self || w.cut[uid] {
			delete(w.orphans, uid)
			continue
		}
		if _, known := w.orphans[uid]; !known {
			w.orphans[uid] = now
		}
		if strict || (present[w.self] && now-w.orphans[uid] >= orphanGrace) {
			w.cut[uid] = true
			delete(w.peers, uid)
			delete(w.orphans, uid)
		}
	}
	maps.DeleteFunc(w.orphans, func(uid string, _ time.Duration) bool { return !owners[uid] })
	w.relevant = nil // the former may be what the Lease reports
	for uid := range w.cut {
		if present[uid] || owners[uid] {
			w.relevant = append(w.relevant, uid)
		}
	}
	slices.Sort(w.relevant)
}

// replaced reports whether a forgotten peer need not be remembered: it has
// nothing that could be routed to it, or another has its name or address.
func (w *world) replaced(uid string, p *remotePeer) bool {
	for other, q := range w.peers {
		if other != uid && !q.gone && (q.name == p.name || slices.ContainsFunc(q.underlay, func(a netip.Addr) bool {
			return slices.Contains(p.underlay, a)
		})) {
			return true
		}
	}
	for _, r := range w.ranges {
		if r.owner == uid && !w.superseded(r) {
			return false
		}
	}
	return true
}

// superseded reports whether a forgotten range's space has an owner again.
func (w *world) superseded(r *heldRange) bool {
	if !r.gone {
		return false
	}
	for _, other := range w.ranges {
		if !other.gone && other.cidr.Overlaps(r.cidr) {
			return true
		}
	}
	return false
}

// parseRange is what counts of a range; false: it has no owner, or is damaged.
func parseRange(r *v1alpha1.AddressRange) (*heldRange, bool) {
	cidr, err := netip.ParsePrefix(r.Spec.CIDR)
	if err != nil || r.Spec.Owner == nil || r.UID == "" {
		return nil, false // without a uid it could not be remembered, either
	}
	held := &heldRange{
		uid: string(r.UID), name: r.Name, pool: r.Spec.Pool, cidr: cidr.Masked(),
		owner: string(r.Spec.Owner.UID), epoch: r.Spec.Epoch,
	}
	for _, reservation := range r.Spec.Reserved {
		if addr, err := netip.ParseAddr(reservation.Address); err == nil {
			held.reserved = append(held.reserved, addr)
		}
	}
	held.asked = parseKeep(r.Spec.Keep)
	if seal := r.Status.Sealed; seal != nil && seal.Epoch == r.Spec.Epoch {
		held.answered = parseKeep(&seal.Keep)
	}
	held.keep = narrower(held.asked, held.answered)
	return held, true
}

// parseKeep: nil is nothing asked, the zero Prefix is all of it. What cannot
// be read is taken for the latter: it stops allocation, and harms nothing.
func parseKeep(keep *string) *netip.Prefix {
	if keep == nil {
		return nil
	}
	cidr, err := netip.ParsePrefix(*keep)
	if err != nil {
		cidr = netip.Prefix{}
	}
	return &cidr
}

// narrower is the one that keeps less. Both begin where the range begins.
func narrower(a, b *netip.Prefix) *netip.Prefix {
	switch {
	case a == nil:
		return b
	case b == nil || !a.IsValid():
		return a
	case !b.IsValid() || b.Bits() > a.Bits():
		return b
	}
	return a
}

func parseAddrs(texts []string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}
