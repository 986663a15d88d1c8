// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// sealedHolder is the holder of a Lease that no run can renew any more.
const sealedHolder = "sealed"

func (l *Lease) sealed() bool { return l.Holder == sealedHolder }

// holderUID is the incarnation whose run holds the Lease.
func (l *Lease) holderUID() string {
	uid, _, _ := strings.Cut(l.Holder, "/")
	return uid
}

// The marks on a sealed Lease. removalMark says that no renewal of this peer
// can land any more while its removal stands at this generation: whoever takes
// the Lease reads the Peer first. With evidence: that it was sealed after the
// wait that this kind of evidence demands, which therefore no other controller
// has to repeat.
func removalMark(p *Peer) string { return fmt.Sprintf("%s@%d", p.UID, p.Generation) }

func evidenceMark(p *Peer, e Evidence) string { return removalMark(p) + ":" + string(e) }

// markedUID is the incarnation that a mark is about.
func markedUID(mark string) string {
	uid, _, _ := strings.Cut(mark, "@")
	return uid
}

// duration is how long the Lease of that peer lasts without a renewal.
func (d *decider) duration(peer string) time.Duration {
	if l := d.leases[peer]; l != nil && l.Duration > 0 {
		return l.Duration
	}
	return d.cfg.LeaseDuration
}

// patience is how long a Lease is watched before it is believed to have run
// out: its duration and a margin for clocks that run at different rates.
func (d *decider) patience(peer string) time.Duration {
	t := d.duration(peer)
	return t + t/10
}

// quietSince is since when this very version of the Lease has been watched;
// now, if it has not.
func (d *decider) quietSince(peer string) time.Duration {
	l := d.leases[peer]
	if w, ok := d.m.leases[peer]; ok && l != nil && w.uid == l.UID && w.version == l.Version {
		return w.since
	}
	return d.now
}

// created makes an absent Lease, sealed: what is not there cannot be watched.
// It says whether it had to.
func (d *decider) created(peer string) bool {
	if d.leases[peer] != nil || !d.cfg.on(ruleWatch) {
		return false
	}
	d.seal(peer)
	return true
}

// runsOut is when the Lease will have been watched for long enough, counting
// from a moment at the earliest.
func (d *decider) runsOut(peer string, from time.Duration) time.Duration {
	if !d.cfg.on(ruleWatch) {
		return d.now
	}
	return max(d.quietSince(peer), from) + d.patience(peer)
}

// live: the peer's own run holds its Lease, and it has not run out.
func (d *decider) live(p *Peer) bool {
	l := d.leases[p.Name]
	return l != nil && !l.sealed() && l.holderUID() == p.UID && d.quietSince(p.Name)+d.patience(p.Name) > d.now
}

// seal asks for the Lease of that peer to be sealed, for marks, on exactly the
// version that was read. One write serves all who ask.
func (d *decider) seal(peer string, marks ...string) {
	d.seals[peer] = append(d.seals[peer], marks...)
}

// sealLeases makes the writes that were asked for. A mark is kept as long as
// somebody can ask for it.
func (d *decider) sealLeases() {
	names := make([]string, 0, len(d.seals))
	for name := range d.seals {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		before := Lease{Object: Object{Name: name}, Duration: d.cfg.LeaseDuration}
		if l := d.leases[name]; l != nil {
			before = *l
		}
		marks := slices.Clone(d.seals[name])
		if before.sealed() {
			for _, mark := range before.SealedFor {
				uid := markedUID(mark)
				if d.byUID[uid] != nil || len(d.owned[uid]) > 0 {
					marks = append(marks, mark)
				}
			}
		}
		slices.Sort(marks)
		d.write(SealLease{Before: before, SealedFor: slices.Compact(marks)})
	}
}

// strayLeases seals those that have run out and whose holder is no Peer any
// more: the peer that has the name today can take it only then.
func (d *decider) strayLeases() {
	for i := range d.s.Leases {
		l := &d.s.Leases[i]
		if l.sealed() {
			continue
		}
		if p := d.peers[l.Name]; p != nil && p.UID == l.holderUID() {
			continue
		}
		if until := d.runsOut(l.Name, 0); until > d.now {
			d.recheck(until)
			continue
		}
		d.seal(l.Name)
	}
}

// termReached decides whether ownership may change in this term of leadership:
// every agent that may still be alive has compared what it remembers with what
// the API server says today, which may have been restored from a backup.
func (d *decider) termReached() {
	if d.cfg.Term == "" || !d.cfg.on(ruleTerm) {
		return
	}
	var silent []string
	for i := range d.s.Leases {
		l := &d.s.Leases[i]
		if l.sealed() {
			if d.forgotten(l) {
				silent = append(silent, l.Name)
			}
			continue
		}
		if l.Term == d.cfg.Term {
			continue
		}
		silent = append(silent, l.Name)
		if until := d.runsOut(l.Name, 0); until > d.now {
			d.recheck(until)
		} else {
			d.seal(l.Name)
		}
	}
	if len(silent) == 0 {
		return
	}
	slices.Sort(silent)
	d.unsettled = fmt.Sprintf("nothing is granted or moved before every agent has compared its memory with the API: waiting for %s, until it answers or its lease has run out (or, where pods hold what the API has forgotten, until it is removed)", enumerate(silent))
}

// forgotten: the peer with this sealed Lease has reported that its pods hold
// space of which the API knows nothing. That its agent gives out nothing any
// more is not enough: they are heard until everybody has cut the peer off.
func (d *decider) forgotten(l *Lease) bool {
	p := d.peers[l.Name]
	if p == nil || !p.Report.Regressed || !d.cfg.on(ruleForgotten) {
		return false
	}
	return p.Phase != Transferring && p.Phase != Removed || len(d.barrier[p.UID]) > 0
}

// enumerate names at most a few, and counts the rest.
func enumerate(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
