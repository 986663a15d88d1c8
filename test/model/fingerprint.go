// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// fingerprint is 128 bits of a state: of a hundred million states two have the
// same one by chance with a probability of 10^-22.
type fingerprint [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// oldest is an age from which on all ages are one: every wait of the protocol
// is over.
func (w *World) oldest() time.Duration {
	t := time.Minute // a claim's, and longer than a kubelet's
	for _, c := range w.Controllers {
		t = max(t, w.Duration*11/10, c.Config.LeaseDuration*11/10, c.Config.ClaimTimeout, c.Config.GracePeriod)
	}
	return t
}

// fingerprint is the same for states that differ only in how their uids are
// numbered, and in what time it is: times are ages, and what is old enough does
// not grow older. Of a version that somebody remembers only matters whether it
// is still there: no version comes again, so that what rests on another can do
// nothing any more, whatever it says. buffer is used again.
func (w *World) fingerprint(buffer []byte) (fingerprint, []byte) {
	p := &printer{b: buffer[:0], names: make(map[string]int, 64), st: w.Store, oldest: w.oldest()}
	p.store(w.Store)
	for _, h := range w.Hosts {
		p.host(w, h)
	}
	for _, c := range w.Controllers {
		p.controller(w, c)
	}
	p.uids(w.lies)
	p.text(w.Term)
	return fingerprint{maphash.Bytes(seeds[0], p.b), maphash.Bytes(seeds[1], p.b)}, p.b
}

// printer writes a state down, every field after another, none of them
// ambiguous.
type printer struct {
	b []byte
	// names are uids, numbered as they come up.
	names  map[string]int
	st     *Store
	oldest time.Duration
}

func (p *printer) num(n int64) { p.b = binary.AppendVarint(p.b, n) }

func (p *printer) flag(set bool) {
	if set {
		p.num(1)
	} else {
		p.num(0)
	}
}

func (p *printer) flags(set ...bool) {
	for _, f := range set {
		p.flag(f)
	}
}

func (p *printer) text(s string) {
	p.num(int64(len(s)))
	p.b = append(p.b, s...)
}

// name writes a uid, of which only matters where else it is.
func (p *printer) name(s string) {
	if s == "" {
		p.num(0)
		return
	}
	n, ok := p.names[s]
	if !ok {
		n = len(p.names) + 1
		p.names[s] = n
	}
	p.num(int64(n))
}

// mark writes what begins with a uid: "uid@generation", "uid/run", "sealed".
func (p *printer) mark(s string) {
	at := strings.IndexAny(s, "@/")
	if at < 0 {
		at = len(s)
	}
	p.name(s[:at])
	p.text(s[at:])
}

func (p *printer) marks(list []string) {
	p.num(int64(len(list)))
	for _, s := range list {
		p.mark(s)
	}
}

func (p *printer) prefix(c netip.Prefix) {
	a := c.Addr().As16()
	p.b = append(p.b, a[:]...)
	p.num(int64(c.Bits()))
}

func (p *printer) addr(a netip.Addr) {
	b := a.As16()
	p.b = append(p.b, b[:]...)
}

func (p *printer) addrs(list []netip.Addr) {
	p.num(int64(len(list)))
	for _, a := range list {
		p.addr(a)
	}
}

// age is how long ago something was.
func (p *printer) age(t time.Duration) { p.num(int64(min(t, p.oldest))) }

// uids writes a set of uids in the order in which they were made.
func (p *printer) uids(set map[string]bool) {
	keys := slices.SortedFunc(maps.Keys(set), older)
	p.num(int64(len(keys)))
	for _, uid := range keys {
		p.name(uid)
		p.flag(set[uid])
	}
}

func older(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

func (p *printer) object(o ownership.Object) {
	p.text(o.Name)
	p.name(o.UID)
	p.flags(o.Deleting, o.Finalizer)
}

func (p *printer) ref(r ownership.Ref) {
	p.text(r.Name)
	p.name(r.UID)
}

func (p *printer) store(st *Store) {
	each(p, st.pools, p.pool)
	each(p, st.removals, p.declaration)
	each(p, st.peers, p.peer)
	each(p, st.ranges, p.addressRange)
	each(p, st.leases, p.lease)
	each(p, st.nodes, p.node)
	p.num(int64(len(st.pods)))
	for _, uid := range slices.SortedFunc(maps.Keys(st.pods), older) {
		q := st.pods[uid]
		p.name(uid)
		p.text(q.Node)
		p.addrs(q.Addresses)
		p.flag(q.Daemon)
	}
}

func each[V any](p *printer, m map[string]V, put func(V)) {
	p.num(int64(len(m)))
	for _, k := range sortedKeys(m) {
		put(m[k])
	}
}

func (p *printer) pool(q ownership.Pool) {
	p.object(q.Object)
	p.prefix(q.CIDR)
	p.num(int64(q.First))
	p.num(int64(q.Max))
	p.flags(q.Claimed, q.Accepted, q.Release)
}

func (p *printer) declaration(d ownership.Declaration) {
	p.object(d.Object)
	p.text(d.Heir)
	p.name(d.InstanceID)
	p.name(d.PeerUID)
	p.flags(d.AssertDown, d.Done)
}

func (p *printer) peer(q ownership.Peer) {
	p.object(q.Object)
	p.num(q.Generation)
	p.name(q.NodeUID)
	p.name(q.InstanceID)
	p.text(string(q.Phase))
	p.flag(q.Removal != nil)
	if r := q.Removal; r != nil {
		p.text(string(r.Reason))
		p.name(r.RemovalUID)
		p.text(r.Heir)
		p.flags(r.AssertDown, r.CutOff)
	}
	p.flag(q.Result != nil)
	if r := q.Result; r != nil {
		p.text(string(r.Evidence))
		p.ref(r.Heir)
		p.num(int64(r.Ranges))
		p.num(r.Addresses)
	}
	p.addrs(q.Underlay)
	r := q.Report
	p.name(r.NodeUID)
	p.addrs(r.Underlay)
	p.num(r.Headroom)
	p.num(r.FencedGeneration)
	p.name(r.Contender)
	p.flags(r.Present, r.Leaving, r.Regressed)
}

func (p *printer) addressRange(r ownership.Range) {
	p.object(r.Object)
	p.text(r.Pool)
	p.prefix(r.CIDR)
	p.ref(r.Owner)
	p.ref(r.PreviousOwner)
	p.num(r.Epoch)
	p.num(int64(len(r.Reserved)))
	for _, res := range r.Reserved {
		p.addr(res.Address)
		p.name(res.PodUID)
	}
	p.flag(r.Keep != nil)
	if r.Keep != nil {
		p.prefix(*r.Keep)
	}
	p.num(r.ObservedEpoch)
	p.num(r.Used)
	p.flag(r.Sealed != nil)
	if r.Sealed != nil {
		p.num(r.Sealed.Epoch)
		p.prefix(r.Sealed.Keep)
	}
}

func (p *printer) lease(l ownership.Lease) {
	p.object(l.Object)
	p.mark(l.Holder)
	p.num(int64(l.Duration))
	p.marks(l.CutOff)
	p.marks(l.SealedFor)
	p.text(l.Term)
}

func (p *printer) node(n ownership.Node) {
	p.text(n.Name)
	p.name(n.UID)
	p.flags(n.Unschedulable, n.OutOfService)
	p.addrs(n.Addresses)
	p.flag(n.Heartbeat != "")
	p.num(int64(n.HeartbeatDuration))
	p.num(int64(len(n.Pools)))
	for _, name := range sortedKeys(n.Pools) {
		p.text(name)
	}
}
