// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// reportsPerPass bounds the status writes of one pass, so that a cluster that
// starts up does not hold back what is decided.
const reportsPerPass = 100

// statusWriter remembers what it has written, so that nothing is written in
// vain: not on top of a version that it has replaced already while the cache
// lags, and neither what is cosmetic nor what another writes over too often.
type statusWriter struct {
	tried   map[types.UID]string
	written map[types.UID]writing
	left    int
	// again is when something that was put off is due; 0: nothing was.
	again time.Duration
}

// writing is when a status was written last, and what it said.
type writing struct {
	at   time.Duration
	said uint64
}

func (s *statusWriter) begin(objects int) {
	if s.tried == nil || len(s.tried) > 4*objects+1024 {
		s.tried, s.written = map[types.UID]string{}, map[types.UID]writing{}
	}
	s.left, s.again = reportsPerPass, 0
}

// due says whether a status, as it ought to be, is to be written now.
func (s *statusWriter) due(o client.Object, c change, now time.Duration) bool {
	if c == unchanged || s.tried[o.GetUID()] == o.GetResourceVersion() {
		return false
	}
	// What was said already, and is not there any more, another controller has
	// written over, which has watched for less long, or for longer: to say it
	// at once would go on for ever.
	last, ok := s.written[o.GetUID()]
	if ok && now-last.at < cosmeticInterval && (c == cosmetic || last.said == gist(o)) {
		s.putOff(last.at + cosmeticInterval - now)
		return false
	}
	if s.left == 0 {
		s.putOff(soon)
		return false
	}
	return true
}

func (s *statusWriter) putOff(d time.Duration) {
	if s.again == 0 || d < s.again {
		s.again = d
	}
}

// wrote notes a status that was written on top of that version.
func (s *statusWriter) wrote(o client.Object, version string, now time.Duration) {
	s.tried[o.GetUID()] = version
	s.written[o.GetUID()] = writing{now, gist(o)}
}

// touched notes that an object is no longer what was read.
func (s *statusWriter) touched(uid types.UID, version string) { s.tried[uid] = version }

// report writes every status that is not what it ought to be, leaving alone
// the objects that the outcomes are about: their versions are stale. It
// returns when to look again for what was put off, and whether something can
// be concluded only from a consistent view.
func (l *Loop) report(ctx context.Context, v *View, d *ownership.Decision, outcomes []Outcome) (again time.Duration, conclude bool) {
	now := l.Clock()
	l.status.begin(len(v.peers) + len(v.pools) + len(v.removals))
	for _, o := range outcomes {
		if uid, version := about(o.Write); !o.Skipped && uid != "" {
			l.status.touched(types.UID(uid), version)
		}
	}
	silent := func(peer string) time.Duration { return l.heard.silent(peer, now) }
	verdict := NewVerdict(v, d, silent, l.Applier.Now())
	conclude = l.reportRemovals(ctx, v, verdict)
	l.reportPools(ctx, v, verdict)
	for i := range v.Peers {
		p := &v.Peers[i]
		o := v.peers[p.Name]
		want := verdict.PeerStatus(o, p)
		l.Metrics.notePeer(p, want.Conditions)
		c := comparePeer(&o.Status, &want)
		if c == unchanged {
			continue
		}
		was := o.Status.Conditions
		o = o.DeepCopy()
		o.Status = *want.DeepCopy()
		if l.status.due(o, c, now) && l.writeStatus(ctx, kindPeer, o) {
			logReady(ctx, kindPeer, o.Name, was, o.Status.Conditions)
		}
	}
	l.Metrics.setView(v)
	return l.status.again, conclude
}

func (l *Loop) reportPools(ctx context.Context, v *View, verdict *Verdict) {
	parsed := make(map[string]*ownership.Pool, len(v.Pools))
	for i := range v.Pools {
		parsed[v.Pools[i].Name] = &v.Pools[i]
	}
	for _, name := range slices.Sorted(maps.Keys(v.pools)) {
		o := v.pools[name]
		want, use := verdict.PoolStatus(o, parsed[name])
		l.Metrics.setPool(name, use)
		w, waits := verdict.wait(kindPool, name)
		l.Metrics.notePool(name, want.Conditions, waits && w.Reason == ownership.WaitExhausted)
		c := comparePool(&o.Status, &want)
		if c == unchanged {
			continue
		}
		was := o.Status.Conditions
		o = o.DeepCopy()
		o.Status = want
		if l.status.due(o, c, l.Clock()) && l.writeStatus(ctx, kindPool, o) {
			logReady(ctx, kindPool, name, was, want.Conditions)
		}
	}
	l.pools = l.Metrics.dropPools(l.pools, v)
}

func (l *Loop) reportRemovals(ctx context.Context, v *View, verdict *Verdict) (conclude bool) {
	for _, name := range slices.Sorted(maps.Keys(v.removals)) {
		o := v.removals[name]
		want := verdict.RemovalStatus(o)
		l.Metrics.noteRemoval(o, &want)
		c, was, said := compareRemoval(&o.Status, &want), o.Status.Phase, o.Status.Conditions
		if c == unchanged {
			continue
		}
		o = o.DeepCopy()
		o.Status = want
		if !l.status.due(o, c, l.Clock()) {
			continue
		}
		// One cache may be behind another: a phase is concluded from a
		// consistent view only.
		ends := want.Phase == v1alpha1.RemovalRemoved && was != want.Phase
		if was != want.Phase && !v.Consistent {
			conclude = true
			continue
		}
		if !l.writeStatus(ctx, kindRemoval, o) {
			continue
		}
		logReady(ctx, kindRemoval, name, said, want.Conditions)
		if ends && want.Evidence == v1alpha1.EvidenceNeverJoined {
			l.Metrics.removals.WithLabelValues(string(want.Evidence)).Inc()
		}
	}
	return conclude
}

// writeStatus is a PUT on the version that was read, which guards what the
// agent and the decisions have written.
func (l *Loop) writeStatus(ctx context.Context, kind string, o client.Object) bool {
	l.status.left--
	version := o.GetResourceVersion()
	err := l.Applier.Client.Status().Update(ctx, o)
	if err == nil {
		l.status.wrote(o, version, l.Clock())
		return true
	}
	reason := refusal(err)
	l.Metrics.refused.WithLabelValues(kind, reason).Inc()
	if isGone(err) {
		// The cache will bring what is newer.
		l.status.tried[o.GetUID()] = version
		return false
	}
	l.status.putOff(time.Second)
	if ctx.Err() == nil {
		log.FromContext(ctx).Error(err, "writing a status", "object", kind+"/"+o.GetName())
	}
	return false
}

// logReady logs that an object is ready, or is not and for another reason than
// before: once, since it is in its status from then on.
func logReady(ctx context.Context, kind, name string, was, now []metav1.Condition) {
	before, after := apimeta.FindStatusCondition(was, v1alpha1.ConditionReady), apimeta.FindStatusCondition(now, v1alpha1.ConditionReady)
	if after == nil || before != nil && before.Status == after.Status && before.Reason == after.Reason {
		return
	}
	log.FromContext(ctx).Info("status", "object", kind+"/"+name, "ready", string(after.Status), "reason", after.Reason, "message", after.Message)
}

// about names the object and the version that a write was decided on.
func about(w ownership.Write) (uid, version string) {
	switch w := w.(type) {
	case ownership.UpdatePeer:
		return w.Before.UID, w.Before.Version
	case ownership.UpdatePeerStatus:
		return w.Before.UID, w.Before.Version
	case ownership.DeletePeer:
		return w.Peer.UID, w.Peer.Version
	case ownership.UpdateDeclaration:
		return w.Before.UID, w.Before.Version
	case ownership.UpdatePool:
		return w.Before.UID, w.Before.Version
	}
	return "", ""
}
