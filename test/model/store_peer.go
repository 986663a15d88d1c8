// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"strings"

	"github.com/selvage-net/selvage/controllers/ownership"
)

func (st *Store) updatePeer(w ownership.UpdatePeer) error {
	have, ok := st.peers[w.Before.Name]
	if err := swap(ok, have.Object, w.Before.Object); err != nil {
		return err
	}
	after := have
	after.Finalizer, after.NodeUID, after.Removal = w.After.Finalizer, w.After.NodeUID, w.After.Removal
	if err := peerRules(have, after); err != nil && !st.Lax {
		return err
	}
	if after.NodeUID != have.NodeUID || !sameRemoval(after.Removal, have.Removal) {
		after.Generation++
	}
	if after.Deleting && !after.Finalizer {
		delete(st.peers, after.Name)
		return nil
	}
	st.stamp(&after.Object)
	st.peers[after.Name] = after
	return nil
}

func sameRemoval(a, b *ownership.Removal) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func (st *Store) updatePeerStatus(w ownership.UpdatePeerStatus) error {
	have, ok := st.peers[w.Before.Name]
	if err := swap(ok, have.Object, w.Before.Object); err != nil {
		return err
	}
	after := have
	after.Phase, after.Result, after.Underlay = w.After.Phase, w.After.Result, w.After.Underlay
	if err := peerRules(have, after); err != nil && !st.Lax {
		return err
	}
	st.stamp(&after.Object)
	st.peers[after.Name] = after
	return nil
}

// peerRules are the schema's: see api/v1alpha1.
func peerRules(was, now ownership.Peer) error {
	moving := was.Phase == ownership.Transferring || was.Phase == ownership.Removed
	fenced := func(p ownership.Phase) bool { return p != "" && p != ownership.Active }
	switch {
	case moving && (was.Removal == nil) != (now.Removal == nil):
		return invalid("ownership is moving: this removal can be neither cancelled nor added")
	case now.Removal != nil && now.Removal.Heir == now.Name:
		return invalid("a peer cannot be its own heir")
	case was.Removal != nil && now.Removal != nil && (was.Removal.Heir != now.Removal.Heir || was.Removal.Reason != now.Removal.Reason ||
		was.Removal.RemovalUID != now.Removal.RemovalUID || was.Removal.AssertDown && !now.Removal.AssertDown):
		return invalid("the removal is immutable: cancel it first")
	case now.Phase == ownership.Transferring && now.Removal == nil:
		return invalid("Transferring needs spec.removal")
	case now.Phase == ownership.Transferring && was.Phase != ownership.Fencing && !moving:
		return invalid("Transferring follows Fencing")
	case was.Phase == ownership.Transferring && now.Phase != ownership.Transferring && now.Phase != ownership.Removed,
		was.Phase == ownership.Removed && now.Phase != ownership.Removed,
		now.Phase == ownership.Removed && !moving:
		return invalid("phase %s -> %s", was.Phase, now.Phase)
	case (now.Phase == ownership.Transferring || now.Phase == ownership.Removed) && (now.Result == nil || now.Result.Evidence == ""):
		return invalid("no transfer without evidence")
	case moving && (was.Result.Evidence != now.Result.Evidence || was.Result.Heir != now.Result.Heir):
		return invalid("evidence and heir are fixed from Transferring on")
	}
	if fenced(was.Phase) && fenced(now.Phase) {
		for _, a := range now.Underlay {
			if !slices.Contains(was.Underlay, a) {
				return invalid("no address is accepted from Fencing on")
			}
		}
	}
	return nil
}

func (st *Store) deletePeer(w ownership.DeletePeer) error {
	have, ok := st.peers[w.Peer.Name]
	if err := swap(ok, have.Object, w.Peer.Object); err != nil {
		return err
	}
	st.deleteWithFinalizer(have)
	return nil
}

func (st *Store) deleteWithFinalizer(p ownership.Peer) {
	if !p.Finalizer {
		delete(st.peers, p.Name)
		return
	}
	if !p.Deleting {
		p.Deleting = true
		p.Generation++
		st.stamp(&p.Object)
		st.peers[p.Name] = p
	}
}

// What people, kubelets and agents write.

// AddPool creates an AddressPool.
func (st *Store) AddPool(p ownership.Pool) {
	st.create(&p.Object, "pool")
	p.Generation = 1
	st.pools[p.Name] = p
	for name, n := range st.nodes {
		n.Pools = st.poolNames()
		st.nodes[name] = n
	}
}

func (st *Store) poolNames() map[string]bool {
	out := map[string]bool{}
	for name := range st.pools {
		out[name] = true
	}
	return out
}

// DeletePool marks it for deletion, or deletes it if nothing holds it.
func (st *Store) DeletePool(name string) {
	p, ok := st.pools[name]
	if !ok {
		return
	}
	if !p.Finalizer {
		delete(st.pools, name)
		return
	}
	p.Deleting = true
	st.stamp(&p.Object)
	st.pools[name] = p
}

// ReleaseRemovals annotates a pool.
func (st *Store) ReleaseRemovals(name string) {
	if p, ok := st.pools[name]; ok {
		p.Release = true
		st.stamp(&p.Object)
		st.pools[name] = p
	}
}

// Declare creates a PeerRemoval, or adds assertDown to the one that is there.
// A second heir is refused, as the schema does.
func (st *Store) Declare(d ownership.Declaration) error {
	have, ok := st.removals[d.Name]
	if !ok {
		if d.Heir == d.Name {
			return invalid("a peer cannot be its own heir")
		}
		st.create(&d.Object, "removal")
		d.Generation = 1
		st.removals[d.Name] = d
		return nil
	}
	if have.Heir != d.Heir {
		return invalid("this removal was declared with heir %q: delete it (cancel) before declaring another", have.Heir)
	}
	if have.InstanceID != d.InstanceID {
		return invalid("instanceID is immutable")
	}
	if d.AssertDown && !have.AssertDown {
		have.AssertDown = true
		have.Generation++
		st.stamp(&have.Object)
		st.removals[have.Name] = have
	}
	return nil
}

// Undeclare deletes a PeerRemoval.
func (st *Store) Undeclare(name string) {
	d, ok := st.removals[name]
	if !ok {
		return
	}
	if !d.Finalizer {
		delete(st.removals, name)
		return
	}
	d.Deleting = true
	st.stamp(&d.Object)
	st.removals[name] = d
}

// SetNode creates or replaces a Node; an empty UID makes a new one.
func (st *Store) SetNode(n ownership.Node) ownership.Node {
	if n.UID == "" {
		n.UID = "node-" + strings.TrimPrefix(st.next(), "v")
	}
	n.Pools = st.poolNames()
	st.nodes[n.Name] = n
	return n
}

// Node returns a Node.
func (st *Store) Node(name string) (ownership.Node, bool) {
	n, ok := st.nodes[name]
	return n, ok
}

// DeleteNode deletes the Node, and its Pods with it.
func (st *Store) DeleteNode(name string) {
	delete(st.nodes, name)
	for uid, p := range st.pods {
		if p.Node == name {
			delete(st.pods, uid)
		}
	}
}

// Beat is a kubelet's renewal of its own Lease.
func (st *Store) Beat(name string) {
	if n, ok := st.nodes[name]; ok {
		n.Heartbeat = st.next()
		st.nodes[name] = n
	}
}

// Peer returns a Peer.
func (st *Store) Peer(name string) (ownership.Peer, bool) {
	p, ok := st.peers[name]
	return p, ok
}

// Lease returns a peer's Lease.
func (st *Store) Lease(name string) (ownership.Lease, bool) {
	l, ok := st.leases[name]
	return l, ok
}

// CreatePeer is an agent's joining.
func (st *Store) CreatePeer(name, nodeUID, instance string) (ownership.Peer, error) {
	if _, ok := st.peers[name]; ok {
		return ownership.Peer{}, ErrExists
	}
	p := ownership.Peer{NodeUID: nodeUID, InstanceID: instance, Generation: 1}
	p.Name = name
	p.Report.Headroom = -1
	p.Finalizer = true
	st.create(&p.Object, "peer")
	st.peers[name] = p
	return p, nil
}

// Report is an agent's patch of status.agent: it names no version.
func (st *Store) Report(name, uid string, change func(*ownership.Report)) {
	p, ok := st.peers[name]
	if !ok || p.UID != uid {
		return
	}
	was := p.Report
	change(&p.Report)
	if !sameReport(was, p.Report) {
		st.stamp(&p.Object)
		st.peers[name] = p
	}
}

func sameReport(a, b ownership.Report) bool {
	return a.Present == b.Present && a.NodeUID == b.NodeUID && slices.Equal(a.Underlay, b.Underlay) && a.Headroom == b.Headroom &&
		a.FencedGeneration == b.FencedGeneration && a.Leaving == b.Leaving && a.Contender == b.Contender
}

// ReportRange is an agent's patch of a range's status. It is let through for
// ranges that a peer of that name owns.
func (st *Store) ReportRange(name, owner string, change func(*ownership.Range)) {
	r, ok := st.ranges[name]
	if !ok || r.Owner.Name != owner {
		return
	}
	was := r
	change(&r)
	sameSeal := r.Sealed == was.Sealed || r.Sealed != nil && was.Sealed != nil && *r.Sealed == *was.Sealed
	if r.ObservedEpoch != was.ObservedEpoch || r.Used != was.Used || !sameSeal {
		st.stamp(&r.Object)
		st.ranges[name] = r
	}
}

// PutLease is an agent's compare-and-swap of its Lease, or, if nothing was
// read, its creation.
func (st *Store) PutLease(read, l ownership.Lease) (ownership.Lease, error) {
	have, ok := st.leases[l.Name]
	if read.Version == "" {
		if ok {
			return ownership.Lease{}, ErrExists
		}
		st.create(&l.Object, "lease")
	} else {
		if err := swap(ok, have.Object, read.Object); err != nil {
			return ownership.Lease{}, err
		}
		l.Object = have.Object
		st.stamp(&l.Object)
	}
	st.leases[l.Name] = l
	return l, nil
}

// PutPod creates or replaces a Pod; DeletePod deletes it.
func (st *Store) PutPod(p ownership.Pod) { st.pods[p.UID] = p }

// DeletePod deletes the Pod object, which may go before its containers do.
func (st *Store) DeletePod(uid string) { delete(st.pods, uid) }

// StripPeer takes a Peer away past its finalizer, as break-glass can.
func (st *Store) StripPeer(name string) { delete(st.peers, name) }

// DeletePeer is a person's DELETE.
func (st *Store) DeletePeer(name string) {
	if p, ok := st.peers[name]; ok {
		st.deleteWithFinalizer(p)
	}
}

// DeleteLease deletes a Lease by hand.
func (st *Store) DeleteLease(name string) { delete(st.leases, name) }
