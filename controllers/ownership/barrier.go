// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import "slices"

// barriers finds, for each incarnation whose ranges are to move, the peers
// that may still hear it: those that have not reported, on their Lease, that
// they have cut it off. Without that a survivor with an old view hears the old
// holder of an address while the new one uses it.
func (d *decider) barriers() map[string][]string {
	pending := map[string][]string{}
	for i := range d.s.Peers {
		if p := &d.s.Peers[i]; p.Phase == Transferring || p.Phase == Removed && len(d.owned[p.UID]) > 0 {
			pending[p.UID] = nil
		}
	}
	for uid := range d.owned {
		if d.byUID[uid] == nil {
			pending[uid] = nil
		}
	}
	if len(pending) == 0 || !d.cfg.on(ruleBarrier) {
		return pending
	}
	uids := make([]string, 0, len(pending))
	for uid := range pending {
		uids = append(uids, uid)
	}
	done := make(map[string]bool, len(uids))
	for i := range d.s.Leases {
		l := &d.s.Leases[i]
		if d.outOfTheNetwork(l) {
			continue
		}
		clear(done)
		for _, uid := range l.CutOff {
			done[uid] = true
		}
		if l.sealed() {
			for _, mark := range l.SealedFor {
				done[mark] = true
			}
		}
		for _, uid := range uids {
			if !done[uid] {
				pending[uid] = append(pending[uid], l.Name)
			}
		}
	}
	for i := range d.s.Peers {
		if p := &d.s.Peers[i]; d.leases[p.Name] == nil && d.cfg.on(ruleBarrierAbsent) {
			for _, uid := range uids {
				pending[uid] = append(pending[uid], p.Name)
			}
		}
	}
	for _, names := range pending {
		slices.Sort(names)
	}
	return pending
}

// outOfTheNetwork: this Lease is sealed and nobody can take it any more
// without having read that the incarnations in question are removed.
func (d *decider) outOfTheNetwork(l *Lease) bool {
	if !l.sealed() {
		return false
	}
	p := d.peers[l.Name]
	return p == nil || p.Phase == Transferring || p.Phase == Removed || !d.cfg.on(ruleBarrierSealed)
}

// cutOffByAll passes once every peer has cut off that incarnation. A silent
// one is exempt once its Lease was watched the full time since this barrier
// began, and then sealed for it.
func (d *decider) cutOffByAll(removed Ref) *hold {
	names := d.barrier[removed.UID]
	if len(names) == 0 {
		return nil
	}
	began, ok := d.m.barriers[removed.UID]
	if !ok {
		began.since = d.now
	}
	latest := d.now
	for _, name := range names {
		if d.cfg.on(ruleBarrierWatch) && d.created(name) {
			latest = max(latest, d.now+d.patience(name))
			continue
		}
		until := d.runsOut(name, began.since)
		if until <= d.now || !d.cfg.on(ruleBarrierWatch) {
			d.seal(name, removed.UID)
			continue
		}
		latest = max(latest, until)
		d.recheck(until)
	}
	return holds("AwaitingCutOff", latest, "waiting for %s to cut %s off, or for a lease to run out (%s left)", enumerate(names), removed.Name, left(latest-d.now))
}

// exempt are the peers that were not waited for.
func (d *decider) exempt(uid string) []string {
	var out []string
	for i := range d.s.Leases {
		l := &d.s.Leases[i]
		if l.sealed() && d.peers[l.Name] != nil && slices.Contains(l.SealedFor, uid) && !slices.Contains(l.CutOff, uid) {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}
