// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Mode is what an agent does, as its start-up table and its watches say.
type Mode string

// What an agent does.
const (
	Stopped   Mode = "stopped"   // no process; the kernel goes on
	Waiting   Mode = "waiting"   // declared out, or contending: touches nothing
	Joining   Mode = "joining"   // has a Peer and no lease yet
	Serving   Mode = "serving"   // allocates while its lease lasts
	Suspended Mode = "suspended" // Fencing: no allocation, pods run on
	Fenced    Mode = "fenced"    // removed: stale pods are cut off
	Regressed Mode = "regressed" // no Peer it never left: pods run on, nothing is given
)

// Host is a machine: its kernel, its disk, its kubelet and its agent.
type Host struct {
	Name string
	// On: the machine runs. Cut: it reaches nobody, the API server included.
	On, Cut bool
	// Silent: the kubelet does not renew its Lease.
	Silent bool
	// Rate is how fast its clock runs, within the protocol's margin.
	Rate float64
	// Headroom is the agent's flag; -1: not given.
	Headroom int64

	// The agent.
	Mode Mode
	uid  string // the incarnation it acts as
	run  int
	// lease is what it last wrote; good until its own clock shows until.
	lease ownership.Lease
	until time.Duration
	// taking is the Lease, or its absence, that was read to take it.
	taking *ownership.Lease
	// listed: the consistent LISTs that come after that have been made.
	listed bool
	// sent are renewals under way to the API server.
	sent []renewal
	// own are its ranges as it last saw them.
	own []ownership.Range
	// term is the leader for whom it has compared what it holds with the API.
	term    string
	leaving bool

	// home is the range, by uid, whose first address is the host's own.
	home string

	// The disk.
	instance string
	joined   string
	nodeUID  string
	fenced   map[string]bool
	// acknowledged is the incarnation whose removal the agent has
	// acknowledged: if its Peer is gone, that removal has come to its end.
	acknowledged string
	seen         map[string]int64 // the highest epoch, by range uid

	// The kernel: addresses and the pods that hold them, and the incarnations
	// whose tunnel traffic is let in.
	pods  map[netip.Addr]string
	heard map[string]bool
	// cut are the incarnations it has cut off and says so.
	cut map[string]bool
}

// renewal is a request on its way: what it was based on, what it says, and
// what the sender's clock showed.
type renewal struct {
	read, want ownership.Lease
	sent       time.Duration
}

func newHost(name string) *Host {
	return &Host{
		Name: name, On: true, Rate: 1, Headroom: -1, Mode: Stopped,
		fenced: map[string]bool{}, seen: map[string]int64{},
		pods: map[netip.Addr]string{}, heard: map[string]bool{}, cut: map[string]bool{},
	}
}

// UID is the incarnation the host's pods belong to.
func (h *Host) UID() string { return h.uid }

// Pods are the addresses in use on the machine.
func (h *Host) Pods() map[netip.Addr]string { return h.pods }

// clock is the machine's own.
func (w *World) clock(h *Host) time.Duration {
	return time.Duration(float64(w.Now) * h.Rate)
}

// MayAllocate reports whether the agent would give out an address now.
func (w *World) MayAllocate(h *Host) bool {
	return h.On && h.Mode == Serving && w.clock(h) < h.until
}

func (w *World) reaches(h *Host) bool { return h.On && !h.Cut && h.Mode != Stopped }

// StartAgent starts the agent's process: the start-up table, from consistent
// LISTs.
func (w *World) StartAgent(h *Host) {
	if !h.On || h.Cut || h.Mode != Stopped && h.Mode != Waiting {
		return
	}
	h.run++
	h.taking, h.until, h.lease = nil, 0, ownership.Lease{}
	d, declared := w.Store.removals[h.Name]
	p, joined := w.Store.Peer(h.Name)
	node, _ := w.Store.Node(h.Name)
	switch {
	case declared && !joined && (d.InstanceID == "" || d.InstanceID == h.instance):
		w.cutOffPods(h)
		h.Mode = Waiting
	case joined && p.InstanceID == h.instance:
		if p.UID != h.uid {
			h.uid = p.UID
		}
		h.Mode = Joining
		if h.fenced[p.UID] {
			h.Mode = Fenced
		}
		w.Sync(h)
	case joined:
		h.Mode = Waiting
		if h.instance == "" {
			h.mint(w)
		}
		w.Store.Report(h.Name, p.UID, func(r *ownership.Report) { r.Contender = h.instance })
	case h.joined != "" && !h.fenced[h.joined] && h.acknowledged != h.joined && h.nodeUID == node.UID:
		h.Mode = Regressed
		w.Sync(h)
	default:
		w.join(h, node)
	}
}

func (h *Host) mint(w *World) {
	w.minted++
	h.instance = fmt.Sprintf("instance-%s-%d", h.Name, w.minted)
}

// join starts from scratch: leftover pods are cut off first.
func (w *World) join(h *Host, node ownership.Node) {
	w.cutOffPods(h)
	h.own, h.until, h.home = nil, 0, ""
	h.mint(w)
	p, err := w.Store.CreatePeer(h.Name, node.UID, h.instance)
	if err != nil {
		h.Mode = Waiting
		return
	}
	h.uid, h.joined, h.nodeUID, h.Mode, h.leaving = p.UID, p.UID, node.UID, Joining, false
	w.Sync(h)
}

// cutOffPods takes every pod of the machine off the network.
func (w *World) cutOffPods(h *Host) {
	clear(h.pods)
	h.own = nil
}

// Sync is the agent's taking in what a consistent LIST says: whom to hear,
// whom to cut off, what it owns, and whether it has been removed.
func (w *World) Sync(h *Host) {
	if !w.reaches(h) || h.Mode == Waiting {
		return
	}
	h.listed = h.taking != nil
	clear(h.heard)
	clear(h.cut)
	for _, p := range w.Store.peers {
		if p.Phase == ownership.Transferring || p.Phase == ownership.Removed {
			h.cut[p.UID] = true
		} else {
			h.heard[p.UID] = true
		}
	}
	for _, r := range w.Store.ranges {
		// An owner that no Peer has is not heard either, and that is reported.
		if uid := r.Owner.UID; uid != "" && !h.heard[uid] {
			h.cut[uid] = true
		}
	}
	w.learn(h)
	if h.Mode == Serving && w.regressed(h) {
		h.Mode = Regressed
	}
	if h.Mode != Fenced && h.Mode != Regressed {
		w.admit(h)
		h.term = w.Term
	}
	w.Report(h)
}

// regressed: the API shows less than the agent has seen. A range that it has
// sealed wholly may go.
func (w *World) regressed(h *Host) bool {
	for _, was := range h.own {
		now, ok := w.Store.ranges[was.Name]
		gaveBack := was.Sealed != nil && was.Sealed.Epoch == was.Epoch && !was.Sealed.Keep.IsValid()
		if !gaveBack && (!ok || now.UID != was.UID || now.Epoch < was.Epoch) {
			return true
		}
	}
	return false
}

// learn finds out what the removal of its own Peer, if any, makes of the agent.
func (w *World) learn(h *Host) {
	p, ok := w.Store.Peer(h.Name)
	if ok && p.UID == h.uid && p.NodeUID != "" {
		h.nodeUID = p.NodeUID // as the controller has accepted it
	}
	switch {
	case !ok || p.UID != h.uid:
		if h.Mode == Fenced || h.acknowledged == h.uid || w.lost(h) {
			w.fence(h)
		} else {
			h.Mode = Regressed
			w.reborn(h)
		}
	case p.Phase == ownership.Transferring || p.Phase == ownership.Removed:
		w.fence(h)
	case h.Mode == Fenced:
	case p.Removal != nil:
		h.Mode = Suspended
		if p.Removal.CutOff {
			clear(h.pods)
		}
	case h.Mode == Suspended, h.Mode == Regressed && !w.regressed(h):
		h.Mode, h.acknowledged = Serving, ""
	}
}

// reborn: the Node was deleted and registered anew, so that the Peer was
// removed with it: nothing is left to resume.
func (w *World) reborn(h *Host) {
	if node, ok := w.Store.Node(h.Name); ok && node.UID != h.nodeUID {
		w.fence(h)
	}
}

// lost: its space is another's.
func (w *World) lost(h *Host) bool {
	for _, r := range w.Store.ranges {
		if r.PreviousOwner.UID == h.uid {
			return true
		}
		for _, was := range h.own {
			if r.CIDR.Overlaps(was.CIDR) && r.Owner.UID != h.uid {
				return true
			}
		}
	}
	_, again := w.Store.Peer(h.Name)
	return again
}

func (w *World) fence(h *Host) {
	h.Mode = Fenced
	h.fenced[h.uid] = true
	w.cutOffPods(h)
}

// admit takes in the ranges that it owns, never at a lower epoch than seen.
func (w *World) admit(h *Host) {
	h.own = nil
	for _, r := range sorted(w.Store.ranges) {
		if r.Owner.UID != h.uid || r.Epoch < h.seen[r.UID] {
			continue
		}
		h.seen[r.UID] = r.Epoch
		h.own = append(h.own, r)
	}
	at := func(r ownership.Range) bool { return r.UID == h.home }
	if !slices.ContainsFunc(h.own, at) && len(h.own) > 0 {
		first := slices.MinFunc(h.own, func(a, b ownership.Range) int { return a.CIDR.Addr().Compare(b.CIDR.Addr()) })
		h.home = first.UID
	}
}

// Report writes the agent's status: its ranges' use, epochs and seals, its
// acknowledgement.
func (w *World) Report(h *Host) {
	if !w.reaches(h) || h.Mode == Waiting || h.uid == "" {
		return
	}
	for i := range h.own {
		w.reportRange(h, &h.own[i])
	}
	p, ok := w.Store.Peer(h.Name)
	if !ok || p.UID != h.uid {
		return
	}
	w.Store.Report(h.Name, h.uid, func(r *ownership.Report) {
		node, _ := w.Store.Node(h.Name)
		r.Present, r.NodeUID, r.Underlay = true, node.UID, node.Addresses
		r.Headroom, r.Leaving, r.Regressed = h.Headroom, h.leaving, w.regressed(h)
		if (h.Mode == Fenced || h.Mode == Suspended && len(h.pods) == 0) && p.Removal != nil {
			r.FencedGeneration, h.acknowledged = p.Generation, h.uid
		}
	})
}

func (w *World) reportRange(h *Host, r *ownership.Range) {
	used := int64(0)
	idle := r.UID != h.home || r.Keep == nil || r.Keep.IsValid()
	if r.UID == h.home {
		used++
	}
	for a := range h.pods {
		if r.CIDR.Contains(a) {
			used++
			if r.Keep == nil || !r.Keep.IsValid() || !r.Keep.Contains(a) {
				idle = false
			}
		}
	}
	w.Store.ReportRange(r.Name, h.Name, func(now *ownership.Range) {
		if now.UID != r.UID || now.Epoch != r.Epoch {
			return
		}
		now.ObservedEpoch, now.Used = r.Epoch, used
		if r.Keep != nil && idle {
			now.Sealed = &ownership.Seal{Epoch: r.Epoch, Keep: *r.Keep}
			r.Sealed = now.Sealed
		}
	})
}
