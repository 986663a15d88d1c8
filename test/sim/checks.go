// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"net/netip"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// Invariants that are about more than what the API holds; the others are
// ownership's.
const (
	// OneHolder: among the nodes whose peers hold an unsealed lease, an address
	// is held by at most one pod, and no other holder of it is heard there.
	OneHolder = "OneHolder"
	// Progress: once faults end, everything comes to rest.
	Progress = "Progress"
)

// checks is what the invariants are checked against.
type checks struct {
	// dirty: what is held, or who is heard, may have changed.
	dirty bool
	// ranges are those that have an owner, by name.
	ranges map[string]owned
	// epochs are the highest that an agent has acted on, by process and range.
	epochs map[*process]map[string]int64
	// asserted are incarnations that were said to be off: that may be false.
	asserted map[string]bool
	// believed are hosts that saw nothing of a restore from a backup.
	believed map[string]bool
	// counts says how often each was checked, so that nothing is vacuous.
	counts map[string]int
}

type owned struct {
	cidr netip.Prefix
	uid  string
}

func (c *checks) init() {
	c.believed = map[string]bool{}
	c.ranges, c.epochs, c.asserted, c.counts = map[string]owned{}, map[*process]map[string]int64{}, map[string]bool{}, map[string]int{}
}

func (w *World) violated(invariant, kind, name, format string, args ...any) {
	w.Violations = append(w.Violations, ownership.Violation{Invariant: invariant, Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)})
}

// Admitted is that whatever is written is taken by the rules of the definitions, but for
// what a version or a uid stands against.
const Admitted = "Admitted"

func (w *World) admit(before, after client.Object) error {
	w.checks.counts[Admitted]++
	err := w.Options.Admit(before, after)
	if err != nil {
		w.violated(Admitted, apiserver.KindOf(after).Resource.Resource, after.GetName(), "%v", err)
	}
	return err
}

// changed checks every change of what the API holds.
func (w *World) changed(k *apiserver.Kind, before, after client.Object) {
	switch k {
	case apiserver.Ranges:
		w.checkRange(before, after)
	case apiserver.Peers:
		w.checkPeer(before, after)
	case apiserver.Leases:
		w.checks.dirty = w.checks.dirty || holder(before) != holder(after)
	}
	if w.Verbose {
		w.noteChange(k, before, after)
	}
	change := apiserver.Change{Kind: k, Before: before, After: after}
	for _, h := range w.Hosts {
		if h.agent != nil && h.agent.cache != nil {
			h.agent.cache.deliver(change)
		}
	}
	for _, c := range w.Controllers {
		if c.process != nil && !c.process.dead && c.process.cache != nil {
			c.process.cache.deliver(change)
		}
	}
}

func rangesOf(o client.Object) []v1alpha1.AddressRange {
	if o == nil {
		return nil
	}
	return []v1alpha1.AddressRange{*o.(*v1alpha1.AddressRange)}
}

func peersOf(o client.Object) []v1alpha1.Peer {
	if o == nil {
		return nil
	}
	return []v1alpha1.Peer{*o.(*v1alpha1.Peer)}
}

// step checks one write of one object with ownership's own checker.
func (w *World) step(before, after controllers.Objects) {
	was, _ := controllers.Convert(before)
	is, malformed := controllers.Convert(after)
	for _, m := range malformed {
		w.violated(ownership.WellFormed, m.Kind, m.Name, "%v", m.Err)
	}
	w.checks.counts[ownership.Monotone]++
	w.Violations = append(w.Violations, ownership.CheckStep(&was, &is)...)
	w.Violations = append(w.Violations, ownership.Check(&is)...)
}

func (w *World) checkRange(before, after client.Object) {
	w.checks.dirty = true
	var owner string
	if before != nil && before.(*v1alpha1.AddressRange).Spec.Owner != nil {
		owner = string(before.(*v1alpha1.AddressRange).Spec.Owner.UID)
	}
	var peers []v1alpha1.Peer
	for _, o := range w.Server.List(apiserver.Peers, "") {
		if string(o.GetUID()) == owner {
			peers = peersOf(o)
		}
	}
	w.step(controllers.Objects{Ranges: rangesOf(before), Peers: peers}, controllers.Objects{Ranges: rangesOf(after), Peers: peers})
	if after == nil {
		delete(w.checks.ranges, before.GetName())
		return
	}
	now := after.(*v1alpha1.AddressRange)
	delete(w.checks.ranges, now.Name)
	if owner != "" && (now.Spec.Owner == nil || string(now.Spec.Owner.UID) != owner) {
		w.checkFenced(before.(*v1alpha1.AddressRange), owner)
	}
	if now.Spec.Owner == nil {
		return
	}
	cidr, err := netip.ParsePrefix(now.Spec.CIDR)
	if err != nil {
		return // malformed: told above
	}
	w.checks.counts[ownership.Disjoint]++
	for name, other := range w.checks.ranges {
		if other.cidr.Overlaps(cidr) {
			w.violated(ownership.Disjoint, "AddressRange", now.Name, "%s of %s overlaps %s of %s (%s)", cidr, now.Spec.Owner.UID, other.cidr, other.uid, name)
		}
	}
	w.checks.ranges[now.Name] = owned{cidr, string(now.Spec.Owner.UID)}
}

// checkFenced: a range changes its owner only after the old one can start no
// allocation.
func (w *World) checkFenced(was *v1alpha1.AddressRange, owner string) {
	w.checks.counts[ownership.Fenced]++
	if seal := was.Status.Sealed; seal != nil && seal.Epoch == was.Spec.Epoch && seal.Keep == "" {
		return // it has given it back
	}
	for _, h := range w.Hosts {
		if h.agent == nil || h.disk.record.PeerUID != owner || w.checks.asserted[owner] {
			continue
		}
		if why := h.agent.membership.Ready(); why != nil {
			w.note("%s is taken from %s, which allocates nothing: %v", was.Spec.CIDR, h.Name, why)
		} else {
			w.violated(ownership.Fenced, "AddressRange", was.Name, "%s is taken from %s, which could allocate from it", was.Spec.CIDR, h.Name)
		}
	}
}

func (w *World) checkPeer(before, after client.Object) {
	w.step(controllers.Objects{Peers: peersOf(before)}, controllers.Objects{Peers: peersOf(after)})
	if after == nil {
		return
	}
	if r := after.(*v1alpha1.Peer).Status.Removal; r != nil {
		w.checks.counts[ownership.OneHeir]++
		if r.Evidence == v1alpha1.EvidenceAsserted {
			w.checks.asserted[string(after.GetUID())] = true
		}
	}
}

// acts: an agent uses a range in that epoch.
func (c *checks) acts(h *Host, uid string, epoch int64) {
	seen := c.epochs[h.agent.process]
	if seen == nil {
		seen = map[string]int64{}
		c.epochs[h.agent.process] = seen
	}
	if epoch < seen[uid] {
		h.machine.w.violated(ownership.Monotone, "AddressRange", uid, "%s acts on epoch %d, and has acted on %d", h.Name, epoch, seen[uid])
	}
	seen[uid] = epoch
}

// recount takes in what a backup has brought back.
func (c *checks) recount(w *World) {
	clear(c.ranges)
	c.dirty = true
	for _, o := range w.Server.List(apiserver.Ranges, "") {
		r := o.(*v1alpha1.AddressRange)
		if cidr, err := netip.ParsePrefix(r.Spec.CIDR); err == nil && r.Spec.Owner != nil {
			c.ranges[r.Name] = owned{cidr, string(r.Spec.Owner.UID)}
		}
	}
}

func (c *checks) forget(p *process) { delete(c.epochs, p) }

// allocated: an ADD has succeeded. What it has given must be the host's.
func (c *checks) allocated(h *Host, addr netip.Addr) {
	w := h.machine.w
	c.counts[OneHolder]++
	uid := h.disk.record.PeerUID
	if c.asserted[uid] || w.restored {
		return // what the API says of it is false, or has been forgotten
	}
	for name, r := range c.ranges {
		if r.cidr.Contains(addr) && r.uid != uid {
			w.violated(ownership.Fenced, "AddressRange", name, "%s gives %s to a pod, and %s owns it", h.Name, addr, r.uid)
		}
	}
}

// reachable: its peer holds an unsealed lease, or has reason to believe so. One
// that was sealed too early is deaf to nobody yet.
func (w *World) reachable(h *Host) bool {
	if !h.On {
		return false
	}
	if h.agent != nil && h.agent.membership.Ready() == nil && !w.checks.asserted[h.disk.record.PeerUID] {
		return true
	}
	o, err := w.Server.Get(apiserver.Leases, Namespace, v1alpha1.LeasePrefix+h.Name)
	if err != nil {
		return false
	}
	uid, _, _ := strings.Cut(holder(o), "/")
	return uid != "" && uid != v1alpha1.SealedHolder && uid == h.disk.record.PeerUID
}

// holder is who holds a Lease; empty: nobody.
func holder(o client.Object) string {
	if o == nil || o.(*coordinationv1.Lease).Spec.HolderIdentity == nil {
		return ""
	}
	return *o.(*coordinationv1.Lease).Spec.HolderIdentity
}

// checkHolders checks OneHolder, if anything that it is about has changed.
func (w *World) checkHolders() {
	if !w.checks.dirty {
		return
	}
	w.checks.dirty = false
	held := map[netip.Addr]*Host{}
	for _, h := range w.Hosts {
		if !h.On {
			continue
		}
		attachments, err := h.kernel.Dump()
		if err != nil {
			panic(err)
		}
		for _, at := range attachments {
			if !at.Up {
				continue
			}
			for _, addr := range at.Addresses {
				if other := held[addr]; other != nil {
					w.checkTwice(addr, other, h)
				}
				held[addr] = h
			}
		}
	}
}

// checkTwice: two pods have an address.
func (w *World) checkTwice(addr netip.Addr, a, b *Host) {
	w.checks.counts["held twice, one unheard"]++
	if w.checks.believed[a.Name] || w.checks.believed[b.Name] {
		return
	}
	inA, inB := w.reachable(a), w.reachable(b)
	if a == b || (inA && inB) {
		w.violated(OneHolder, "address", addr.String(), "pods on %s and %s have it", a.Name, b.Name)
		return
	}
	if !inA && !inB {
		return
	}
	stale := a
	if inA {
		stale = b
	}
	for _, h := range w.Hosts {
		if h != stale && w.reachable(h) && h.kernel.Hears(stale.underlay) {
			w.violated(OneHolder, "address", addr.String(), "pods on %s and %s have it, and %s hears the stale one on %s", a.Name, b.Name, h.Name, stale.Name)
			return
		}
	}
}
