// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"slices"
	"time"
)

// evidence is why p can start no allocation any more, or what is waited for.
func (d *decider) evidence(p *Peer) (Evidence, *hold) {
	switch {
	case d.acknowledged(p):
		return AgentAcknowledged, nil
	case p.Removal.AssertDown:
		return Asserted, nil
	case d.sealedFor(p, evidenceMark(p, NodeOutOfService)) && d.outOfService(p):
		return NodeOutOfService, nil
	case d.sealedFor(p, evidenceMark(p, LeaseExpired)):
		return LeaseExpired, nil
	}
	if d.created(p.Name) {
		return "", holds("Sealing", 0, "%s has no lease: making a sealed one", p.Name)
	}
	if d.outOfService(p) {
		// A taint may have been forgotten on a machine that runs, and for as
		// long as its lease lasts that one may allocate.
		until := d.runsOut(p.Name, 0)
		if until <= d.now || !d.cfg.on(ruleOutOfService) {
			d.seal(p.Name, removalMark(p), evidenceMark(p, NodeOutOfService))
			return "", holds("Sealing", 0, "node %s is out of service: sealing its lease", p.Name)
		}
		if d.drain(p, until) == nil {
			return "", holds("NodeOutOfService", until, "node %s is marked out of service: waiting for its lease to run out (%s left)", p.Name, left(until-d.now))
		}
		d.recheck(until)
	}
	if d.cordoned(p) {
		return "", holds("CuttingOff", 0, "node %s is cordoned and only DaemonSet and static pods are left: waiting for its agent to cut them off, or for its lease to run out", p.Name)
	}
	return "", d.expiry(p)
}

// acknowledged: the agent says of the removal that stands now that it
// allocates no more and no pod of its holds an address.
func (d *decider) acknowledged(p *Peer) bool {
	if !d.cfg.on(ruleAckGeneration) {
		return p.Report.FencedGeneration > 0
	}
	return p.Report.FencedGeneration == p.Generation
}

func (d *decider) outOfService(p *Peer) bool {
	n := d.nodes[p.Name]
	return n != nil && n.OutOfService && (p.NodeUID == "" || p.NodeUID == n.UID)
}

// knownSince is when this process first saw that p is to be removed.
func (d *decider) knownSince(p *Peer) time.Duration {
	if known, ok := d.m.removals[removalKey(p)]; ok {
		return known.since
	}
	return d.now
}

// sealedFor: p's Lease is sealed and carries the mark, so it has stayed sealed.
func (d *decider) sealedFor(p *Peer, mark string) bool {
	l := d.leases[p.Name]
	if l == nil || !l.sealed() {
		return false
	}
	if !d.cfg.on(ruleSealGeneration) {
		return slices.ContainsFunc(l.SealedFor, func(m string) bool { return markedUID(m) == p.UID })
	}
	return slices.Contains(l.SealedFor, mark)
}

// sealed asks for the seal without which no evidence counts: from then on no
// renewal of p's can land.
func (d *decider) sealed(p *Peer, e Evidence) *hold {
	if d.sealedFor(p, removalMark(p)) || !d.cfg.on(ruleSeal) {
		return nil
	}
	d.seal(p.Name, removalMark(p))
	return holds("Sealing", 0, "%s: sealing %s's lease", e, p.Name)
}

// expiry waits for the Lease to run out, and seals it then. One that is found
// sealed proves nothing about when its last run stopped: it is watched too.
func (d *decider) expiry(p *Peer) *hold {
	until := d.runsOut(p.Name, 0)
	if l := d.leases[p.Name]; l != nil && l.sealed() && !d.cfg.on(ruleWatchSealed) {
		until = d.now
	}
	if until > d.now {
		if h := d.drain(p, until); h != nil {
			return h
		}
		return holds("AwaitingLease", until, "waiting for %s's lease to run out (%s left), or proof that it is down", p.Name, left(until-d.now))
	}
	if h := d.kubelet(p); h != nil {
		return h
	}
	d.seal(p.Name, removalMark(p), evidenceMark(p, LeaseExpired))
	return holds("Sealing", 0, "%s's lease has run out: sealing it", p.Name)
}

// drain is the wait of a peer that has renewed since its removal is known: it
// lives, and its own acknowledgement is what to wait for.
func (d *decider) drain(p *Peer, until time.Duration) *hold {
	l := d.leases[p.Name]
	if l == nil || l.sealed() || d.quietSince(p.Name) <= d.knownSince(p) {
		return nil
	}
	if pods := d.podsOn[p.Name]; len(pods) > 0 {
		return holds("AwaitingDrain", until, "%s is alive and has pods (%s): waiting for them to go; kubectl drain %s --ignore-daemonsets moves them", p.Name, podNames(pods), p.Name)
	}
	return holds("AwaitingAgent", until, "waiting for %s's agent to acknowledge that it allocates no more", p.Name)
}

// kubelet waits while the node's kubelet is alive and pods remain: an agent
// that stopped renewing is no node that is down. assertDown overrides it, a
// drain moves it on, and another instance in its place ends it.
func (d *decider) kubelet(p *Peer) *hold {
	n := d.nodes[p.Name]
	if n == nil || n.Heartbeat == "" || p.Removal.Reason == Superseded || !d.cfg.on(ruleKubelet) {
		return nil
	}
	beat, ok := d.m.heartbeats[p.Name]
	if !ok || beat.uid != n.UID || beat.version != n.Heartbeat {
		beat.since = d.now
	}
	period := n.HeartbeatDuration
	if period <= 0 {
		period = 40 * time.Second
	}
	pods := d.podsOn[p.Name]
	if n.Unschedulable {
		pods = slices.DeleteFunc(slices.Clone(pods), func(q *Pod) bool { return q.Daemon })
	}
	if until := beat.since + period; until > d.now && len(pods) > 0 {
		return holds("KubeletAlive", until, "%s's lease has run out, but its kubelet is alive and has pods (%s): waiting for a drain, for the kubelet to fall silent (%s left), or for assertDown", p.Name, podNames(pods), left(until-d.now))
	}
	return nil
}

// cordoned tells the agent, once, to cut off the pods that a drain leaves
// behind. It is a change of the Peer's spec, so what was acknowledged or
// sealed before no longer counts.
func (d *decider) cordoned(p *Peer) bool {
	n, pods := d.nodes[p.Name], d.podsOn[p.Name]
	if n == nil || !n.Unschedulable || len(pods) == 0 || p.Removal.CutOff || d.sealedFor(p, removalMark(p)) {
		return false
	}
	for _, q := range pods {
		if !q.Daemon {
			return false
		}
	}
	removal := *p.Removal
	removal.CutOff = true
	after := *p
	after.Removal = &removal
	_, ok := d.write(UpdatePeer{*p, after})
	return ok
}

func podNames(pods []*Pod) string {
	names := make([]string, 0, len(pods))
	for _, q := range pods {
		names = append(names, q.Namespace+"/"+q.Name)
	}
	slices.Sort(names)
	return enumerate(names)
}

// left is a duration as people read it: whole seconds, rounded up.
func left(t time.Duration) time.Duration {
	return (t + time.Second - 1).Truncate(time.Second)
}
