// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// World is a cluster in virtual time.
type World struct {
	Store       *Store
	Now         time.Duration
	Hosts       []*Host
	Controllers []*Controller
	// Duration of the agents' Leases.
	Duration time.Duration
	// TakesAbsent breaks a rule of the agents': where a Lease is absent they
	// create it as its holder. For seeing what that would do.
	TakesAbsent bool
	// Term is what agents write into their Leases.
	Term string
	// Events that were raised.
	Events []ownership.Event
	// OnRefusal hears of writes that were refused.
	OnRefusal func(*Controller, ownership.Write, error)

	// Violations that any step has brought about.
	Violations []ownership.Violation
	// Checks counts how often each invariant was checked.
	Checks map[string]int

	// lies are incarnations that were asserted to be down while they ran: there
	// a promise of people was broken.
	lies   map[string]bool
	minted int
}

// NewWorld is an empty cluster with leases of that duration.
func NewWorld(duration time.Duration) *World {
	return &World{Store: NewStore(), Duration: duration, Checks: map[string]int{}, lies: map[string]bool{}}
}

// Host returns a host by name.
func (w *World) Host(name string) *Host {
	for _, h := range w.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// AddHost adds a machine that runs, with its Node and an address; its agent is
// not started.
func (w *World) AddHost(name string) *Host {
	h := newHost(name)
	w.Hosts = append(w.Hosts, h)
	n := ownership.Node{Name: name, HeartbeatDuration: 40 * time.Second,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 77, byte(len(w.Hosts))})}}
	w.Store.SetNode(n)
	w.Store.Beat(name)
	return h
}

// AddController adds a controller that has just started.
func (w *World) AddController(cfg ownership.Config) *Controller {
	if cfg.LeaseDuration == 0 {
		cfg.LeaseDuration = w.Duration
	}
	c := NewController(fmt.Sprintf("controller%d", len(w.Controllers)+1), cfg)
	w.Controllers = append(w.Controllers, c)
	return c
}

// Broken records a violation.
func (w *World) broken(invariant, kind, name, format string, args ...any) {
	w.Violations = append(w.Violations, ownership.Violation{Invariant: invariant, Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)})
}

// changed checks one write of a controller: what it did to the API, and
// whether the old owner of what moved could still allocate.
func (w *World) changed(before *ownership.Snapshot, what ownership.Write) {
	after := w.Store.Snapshot()
	w.Violations = append(w.Violations, ownership.Check(&after)...)
	w.Violations = append(w.Violations, ownership.CheckStep(before, &after)...)
	for _, name := range []string{ownership.Disjoint, ownership.OneHeir, ownership.Monotone, ownership.NoLoss, ownership.WellFormed} {
		w.Checks[name]++
	}
	if u, ok := what.(ownership.UpdatePeerStatus); ok && u.Before.Phase != u.After.Phase && u.After.Phase == ownership.Transferring {
		w.checkEvidence(u.After)
	}
	if u, ok := what.(ownership.UpdateRange); ok && u.Before.Owner != u.After.Owner && u.Before.Owner.UID != "" {
		w.checkFenced(u)
	}
	w.CheckHolders()
}

// checkEvidence: from Transferring on no renewal of the peer can land, and it
// can start no allocation.
func (w *World) checkEvidence(p ownership.Peer) {
	w.Checks[ownership.Fenced]++
	if l := w.Store.leases[p.Name]; l.Holder != Sealed {
		w.broken(ownership.Fenced, "Peer", p.Name, "Transferring, and its lease is not sealed")
	}
	h := w.Host(p.Name)
	if h != nil && h.uid == p.UID && !w.lies[p.UID] && w.MayAllocate(h) {
		w.broken(ownership.Fenced, "Peer", p.Name, "Transferring for %s, and it can still allocate", p.Result.Evidence)
	}
}

// checkHolder: nobody takes or renews the lease of a peer whose ranges move, or
// could give out, having got hold of one, what has become another's.
func (w *World) checkHolder(h *Host) {
	w.Checks[ownership.Fenced]++
	p, ok := w.Store.Peer(h.Name)
	if ok && p.UID == h.uid && (p.Phase == ownership.Transferring || p.Phase == ownership.Removed) {
		w.broken(ownership.Fenced, "Peer", h.Name, "%s, and it has got hold of its lease", p.Phase)
	}
	if !w.MayAllocate(h) || w.lies[h.uid] {
		return
	}
	for i := range h.own {
		a, ok := w.freeAddress(h, &h.own[i])
		if !ok {
			continue
		}
		for _, r := range w.Store.ranges {
			if r.Owner.UID != "" && r.Owner.UID != h.uid && r.CIDR.Contains(a) {
				w.broken(ownership.Fenced, "AddressRange", r.Name, "%s can give out %s, which is %s's", h.Name, a, r.Owner.Name)
			}
		}
	}
}

// checkFenced: the owner that was replaced can start no allocation in what it
// lost. Those that people asserted to be off are believed.
func (w *World) checkFenced(u ownership.UpdateRange) {
	w.Checks[ownership.Fenced]++
	for _, h := range w.Hosts {
		if h.uid != u.Before.Owner.UID || w.lies[h.uid] || !w.MayAllocate(h) {
			continue
		}
		for i := range h.own {
			if r := &h.own[i]; r.CIDR.Overlaps(u.Before.CIDR) {
				if a, ok := w.freeAddress(h, r); ok {
					w.broken(ownership.Fenced, "AddressRange", u.Before.Name, "taken from %s, which can still give out %s", h.Name, a)
				}
			}
		}
	}
}

// OneHolder is the invariant that in the reachable network an address is held
// by at most one pod.
const OneHolder = "OneHolder"

// CheckHolders looks, from each host whose peer holds an unsealed lease or
// believes to, for an address that it hears from two machines.
func (w *World) CheckHolders() {
	w.Checks[OneHolder]++
	holders := map[netip.Addr][]*Host{}
	for _, h := range w.Hosts {
		for a := range h.pods {
			holders[a] = append(holders[a], h)
		}
	}
	for a, hs := range holders {
		if len(hs) < 2 {
			continue
		}
		for _, o := range w.Hosts {
			l, ok := w.Store.Lease(o.Name)
			reachable := ok && holderUID(l.Holder) == o.uid || w.MayAllocate(o) && !w.lies[o.uid]
			if !o.On || !reachable {
				continue
			}
			var from []string
			for _, h := range hs {
				if h == o || o.heard[h.uid] && h.On && !h.Cut {
					from = append(from, h.Name)
				}
			}
			if len(from) > 1 {
				w.broken(OneHolder, "Peer", o.Name, "%s is heard from %v", a, from)
			}
		}
	}
}

// Lie notes that a person has vouched for a machine that runs.
func (w *World) Lie(name string) {
	if h := w.Host(name); h != nil && h.On {
		w.lies[h.uid] = true
	}
}

// Tick lets time pass.
func (w *World) Tick(t time.Duration) { w.Now += t }

// Agents lets every agent that can do what it does at each renewal.
func (w *World) Agents() {
	for _, h := range w.Hosts {
		w.Work(h)
	}
}

// Work is what one machine does at each renewal, undisturbed.
func (w *World) Work(h *Host) {
	if !h.On {
		return
	}
	if !h.Silent && !h.Cut {
		w.Store.Beat(h.Name)
	}
	if h.Mode == Waiting {
		w.StartAgent(h)
	}
	if h.Mode == Fenced && w.gone(h) {
		h.Mode = Stopped
		w.StartAgent(h)
	}
	w.Sync(h)
	for range 2 { // twice, if there is none yet
		if l, ok := w.Store.Lease(h.Name); !ok || l.Version != h.lease.Version {
			w.TakeRead(h)
			w.Sync(h)
			w.TakeWrite(h)
		}
	}
	if h.Mode == Serving || h.Mode == Suspended {
		w.RenewSend(h)
		for len(h.sent) > 0 {
			w.RenewLand(h)
		}
	}
	w.Report(h)
}

func (w *World) gone(h *Host) bool {
	p, ok := w.Store.Peer(h.Name)
	return w.reaches(h) && (!ok || p.UID != h.uid)
}

// Run lets everything work, undisturbed, for a time.
func (w *World) Run(t time.Duration) {
	step := w.Duration / 6
	for end := w.Now + t; w.Now < end; w.Tick(step) {
		w.Agents()
		for _, c := range w.Controllers {
			for range 20 {
				if len(w.Pass(c)) == 0 {
					break
				}
				w.Agents()
			}
		}
	}
}

// Ownership renders who owns what: what golden files hold.
func (w *World) Ownership() (lines []string) {
	for _, r := range sorted(w.Store.ranges) {
		owner := "-"
		if r.Owner != (ownership.Ref{}) {
			owner = r.Owner.Name
			if p, ok := w.Store.Peer(owner); !ok || p.UID != r.Owner.UID {
				owner += " (gone)"
			}
		}
		line := fmt.Sprintf("%s %s epoch %d", r.CIDR, owner, r.Epoch)
		if r.PreviousOwner != (ownership.Ref{}) {
			line += " before " + r.PreviousOwner.Name
		}
		for _, res := range r.Reserved {
			line += " reserved " + res.Address.String()
		}
		if r.Keep != nil {
			line += " asked back"
		}
		lines = append(lines, line)
	}
	return lines
}

// Peers renders the peers' phases.
func (w *World) Peers() (lines []string) {
	for _, p := range sorted(w.Store.peers) {
		phase := p.Phase
		if phase == "" {
			phase = ownership.Active
		}
		line := fmt.Sprintf("%s %s", p.Name, phase)
		if p.Result != nil {
			line += fmt.Sprintf(" %s heir %s", p.Result.Evidence, p.Result.Heir)
		}
		lines = append(lines, line)
	}
	return lines
}

// Waits are what the first controller last waited for, by what waits.
func (w *World) Waits() map[string]string {
	out := map[string]string{}
	for _, wait := range w.Controllers[0].last.Waits {
		out[wait.Kind+" "+wait.Name] = wait.Reason + ": " + wait.Message
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
