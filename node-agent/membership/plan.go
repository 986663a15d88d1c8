// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// own are this peer's ranges by first address, those included that the API has
// forgotten.
func (w *world) own() []*heldRange {
	var own []*heldRange
	for _, r := range w.ranges {
		if r.owner == w.self {
			own = append(own, r)
		}
	}
	slices.SortFunc(own, func(a, b *heldRange) int {
		return cmp.Or(a.cidr.Compare(b.cidr), cmp.Compare(a.uid, b.uid))
	})
	return own
}

// remember brings the record up to what the world says of own ranges. It is
// made durable before any of them is allocated from.
func (w *world) remember(record *Record, held func(netip.Addr) bool) {
	for _, r := range w.own() {
		givenBack := r.answered != nil && !r.answered.IsValid()
		if promised, ok := w.answers[r.uid]; ok && promised.epoch == r.epoch && !promised.keep.IsValid() {
			givenBack = true
		}
		record.Ranges[r.uid] = RangeRecord{Name: r.name, CIDR: r.cidr, Epoch: r.epoch, Owned: true, GivenBack: givenBack}
	}
	for uid, known := range record.Ranges {
		if !known.Owned {
			continue
		}
		if epoch := w.epochs[uid]; epoch > known.Epoch {
			// It has another owner now, or none.
			known.Epoch, known.Owned, known.GivenBack = epoch, false, false
			record.Ranges[uid] = known
		} else if w.ranges[uid] == nil && (known.GivenBack || w.spaceTaken(known.CIDR)) {
			// Its owner went, and then it, unseen.
			known.Epoch, known.Owned, known.GivenBack = known.Epoch+1, false, false
			record.Ranges[uid] = known
		}
	}
	record.trim()
	w.chooseHostRanges(record, held)
}

// spaceTaken reports whether a range with an owner has any of the CIDR.
func (w *world) spaceTaken(cidr netip.Prefix) bool {
	for _, r := range w.ranges {
		if !r.gone && r.cidr.Overlaps(cidr) {
			return true
		}
	}
	return false
}

// chooseHostRanges keeps the ranges whose first address is the host's own, as
// long as they are owned, and otherwise chooses for each family the first
// that is not asked back and whose first address nobody has. The choice is on
// disk, so that it survives growing, shrinking and starting again.
func (w *world) chooseHostRanges(record *Record, held func(netip.Addr) bool) {
	var chosen []string
	for _, v4 := range []bool{true, false} {
		var best *heldRange
		for _, r := range w.own() {
			if r.cidr.Addr().Is4() != v4 {
				continue
			}
			if slices.Contains(record.HostRanges, r.uid) {
				best = r
				break
			}
			first := r.cidr.Addr()
			if best == nil && !r.gone && r.keep == nil && !slices.Contains(r.reserved, first) && !held(first) {
				best = r
			}
		}
		if best != nil {
			chosen = append(chosen, best.uid)
		}
	}
	record.HostRanges = chosen
}

// hostAddresses are the host's own: the first of its first range per family.
func (w *world) hostAddresses(record Record) []netip.Addr {
	var addrs []netip.Addr
	for _, uid := range record.HostRanges {
		if r := w.ranges[uid]; r != nil && r.owner == w.self {
			addrs = append(addrs, r.cidr.Addr())
		}
	}
	return addrs
}

// ledgerRanges are those that may be allocated from: own, shown by the API,
// and recorded on disk in this epoch.
func (w *world) ledgerRanges(record Record) []addresses.Range {
	var ranges []addresses.Range
	for _, r := range w.own() {
		known, recorded := record.Ranges[r.uid]
		if r.gone || !recorded || !known.Owned || known.Epoch != r.epoch {
			continue
		}
		withheld := slices.Clone(r.reserved)
		if slices.Contains(record.HostRanges, r.uid) {
			withheld = append(withheld, r.cidr.Addr())
		}
		ranges = append(ranges, addresses.Range{
			Name: r.name, UID: r.uid, Pool: r.pool, CIDR: r.cidr, Epoch: r.epoch, Keep: r.keep, Withheld: withheld,
		})
	}
	return ranges
}

// desired is what the kernel should be like.
func (w *world) desired(name string, underlay []netip.Addr, pools []netip.Prefix, record Record) datapath.Desired {
	d := datapath.Desired{
		Name: name, Underlay: underlay, HostAddresses: w.hostAddresses(record), Pools: pools, Complete: w.complete,
	}
	routed := map[string][]netip.Prefix{}
	for _, r := range w.ranges {
		if r.owner == w.self {
			d.Own = append(d.Own, r.cidr)
		} else if w.peers[r.owner] != nil {
			routed[r.owner] = append(routed[r.owner], r.cidr)
		}
	}
	slices.SortFunc(d.Own, netip.Prefix.Compare)
	for uid, p := range w.peers {
		if uid == w.self || len(p.underlay) == 0 {
			continue
		}
		slices.SortFunc(routed[uid], netip.Prefix.Compare)
		d.Remotes = append(d.Remotes, datapath.Remote{Name: p.name, Underlay: p.underlay, VTEP: p.vtep, Ranges: routed[uid]})
	}
	slices.SortFunc(d.Remotes, func(a, b datapath.Remote) int { return cmp.Compare(a.Name, b.Name) })
	return d
}

// foreign reports whether the API has given that address to another peer.
func (w *world) foreign(addr netip.Addr) bool {
	for _, r := range w.ranges {
		if r.owner != w.self && !r.gone && r.cidr.Contains(addr) {
			return true
		}
	}
	return false
}

// ownsEach reports whether every one of the addresses is in a range of this
// peer's.
func (w *world) ownsEach(addrs []netip.Addr) bool {
	return !slices.ContainsFunc(addrs, func(addr netip.Addr) bool {
		return !slices.ContainsFunc(w.own(), func(r *heldRange) bool { return r.cidr.Contains(addr) })
	})
}
