// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

func (p *printer) host(w *World, h *Host) {
	p.flags(h.On, h.Cut, h.Silent, h.listed, h.leaving, h.taking != nil)
	p.text(string(h.Mode))
	p.num(int64(h.run))
	p.num(h.Headroom)
	p.name(h.uid)
	p.flag(p.there(h.lease))
	p.left(h.until - w.clock(h))
	if h.taking != nil {
		// Absence has no version.
		p.flags(h.taking.Version == "", p.there(*h.taking))
	}
	fresh := 0
	for _, r := range h.sent {
		if p.there(r.read) {
			fresh++
			p.lease(r.want)
			p.left(r.sent + w.good() - w.clock(h))
		}
	}
	p.num(int64(fresh))
	p.num(int64(len(h.own)))
	for _, r := range h.own {
		p.addressRange(r)
	}
	p.text(h.term)
	for _, uid := range []string{h.home, h.instance, h.joined, h.nodeUID, h.acknowledged} {
		p.name(uid)
	}
	p.num(int64(len(h.seen)))
	for _, uid := range slices.SortedFunc(maps.Keys(h.seen), older) {
		p.name(uid)
		p.num(h.seen[uid])
	}
	p.uids(h.fenced)
	p.uids(h.heard)
	p.uids(h.cut)
	addrs := sortedAddrs(h.pods)
	p.addrs(addrs)
	for _, a := range addrs {
		p.name(h.pods[a])
	}
}

// left is how long something is good yet.
func (p *printer) left(t time.Duration) { p.num(int64(max(t, 0))) }

func (p *printer) controller(w *World, c *Controller) {
	now := w.controllerClock(c)
	c.memory.Each(func(kind string, names []string, since time.Duration, news bool) {
		if !p.watched(kind, names) {
			return
		}
		p.text(kind)
		for _, name := range names {
			if !isVersion(name) {
				p.name(name)
			}
		}
		p.age(now - since)
		p.flag(news)
	})
	for _, name := range c.pods {
		p.text(name)
	}
	p.num(int64(len(c.stopped)))
	for _, subject := range sortedKeys(c.stopped) {
		p.text(subject)
	}
	p.num(int64(len(c.queue)))
	for _, q := range c.queue {
		p.write(q)
	}
}

// watched reports whether what a controller watched is there as it was.
func (p *printer) watched(kind string, names []string) bool {
	switch kind {
	case "leases":
		l := p.st.leases[names[0]]
		return l.UID == names[1] && l.Version == names[2]
	case "holders":
		l := p.st.leases[names[0]]
		return l.UID == names[1] && holderUID(l.Holder) == names[2]
	case "heartbeats":
		n := p.st.nodes[names[0]]
		return n.UID == names[1] && n.Heartbeat == names[2]
	case "claims":
		r := p.st.ranges[names[0]]
		return r.UID == names[1] && r.Version == names[2]
	}
	return true
}

// there reports whether that Lease is as it was read or written.
func (p *printer) there(l ownership.Lease) bool {
	now := p.st.leases[l.Name]
	return l.Version != "" && now.UID == l.UID && now.Version == l.Version
}

// isVersion tells resource versions from other names.
func isVersion(name string) bool {
	return len(name) > 1 && name[0] == 'v' && name[1] >= '0' && name[1] <= '9'
}

func same[V any](m map[string]V, was ownership.Object, object func(V) ownership.Object) bool {
	now, ok := m[was.Name]
	return ok && object(now).UID == was.UID && object(now).Version == was.Version
}

// write is one that a controller has decided on and not made: what it would
// make of what is there, or that it will be refused.
func (p *printer) write(q ownership.Write) {
	p.text(fmt.Sprintf("%T", q))
	p.text(q.Subject())
	rangeObject := func(r ownership.Range) ownership.Object { return r.Object }
	peerObject := func(r ownership.Peer) ownership.Object { return r.Object }
	leaseObject := func(r ownership.Lease) ownership.Object { return r.Object }
	declarationObject := func(r ownership.Declaration) ownership.Object { return r.Object }
	fresh := func(is bool) bool {
		p.flag(is)
		return is
	}
	switch q := q.(type) {
	case ownership.CreateRange:
		p.text(q.Pool)
		p.prefix(q.CIDR)
	case ownership.UpdateRange:
		if fresh(same(p.st.ranges, q.Before.Object, rangeObject)) {
			p.addressRange(q.After)
		}
	case ownership.DeleteRange:
		fresh(same(p.st.ranges, q.Range.Object, rangeObject))
	case ownership.UpdatePeer:
		if fresh(same(p.st.peers, q.Before.Object, peerObject)) {
			p.peer(q.After)
		}
	case ownership.UpdatePeerStatus:
		if fresh(same(p.st.peers, q.Before.Object, peerObject)) {
			p.peer(q.After)
		}
	case ownership.DeletePeer:
		fresh(same(p.st.peers, q.Peer.Object, peerObject))
	case ownership.SealLease:
		p.flag(q.Before.Version == "")
		if fresh(q.Before.Version == "" || same(p.st.leases, q.Before.Object, leaseObject)) {
			p.marks(q.SealedFor)
		}
	case ownership.DeleteLease:
		fresh(same(p.st.leases, q.Lease.Object, leaseObject))
	case ownership.UpdateDeclaration:
		if fresh(same(p.st.removals, q.Before.Object, declarationObject)) {
			p.declaration(q.After)
		}
	case ownership.UpdatePool:
		if fresh(same(p.st.pools, q.Before.Object, func(r ownership.Pool) ownership.Object { return r.Object })) {
			p.pool(q.After)
		}
	case finish:
		if fresh(same(p.st.removals, q.before.Object, declarationObject)) {
			p.name(q.uid)
		}
	default:
		panic(fmt.Sprintf("a write of an unknown kind: %T", q)) // a bug of this file
	}
}
