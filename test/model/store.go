// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package model runs the real decisions of controllers/ownership against a
// simulated API server, with machines, agents and clocks that misbehave on
// command: a linearizable store that takes what a real one takes, agents that
// follow the lease protocol step by step, controllers whose reads are old and
// whose writes are late.
package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Why a write is refused.
var (
	// ErrConflict: another writer was quicker.
	ErrConflict = errors.New("conflict")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrInvalid: a rule of the schema, or of admission, forbids it.
	ErrInvalid = errors.New("invalid")
)

// Store is the API server: every call is one atomic step. Objects are values;
// what they point to is never changed.
type Store struct {
	// Lax: the rules of schemas and policies do not hold, only
	// compare-and-swap. For seeing what a broken decision would do.
	Lax bool

	pools    map[string]ownership.Pool
	peers    map[string]ownership.Peer
	ranges   map[string]ownership.Range
	removals map[string]ownership.Declaration
	leases   map[string]ownership.Lease
	nodes    map[string]ownership.Node
	pods     map[string]ownership.Pod
	counter  int
}

// NewStore is an empty cluster.
func NewStore() *Store {
	return &Store{
		pools:    map[string]ownership.Pool{},
		peers:    map[string]ownership.Peer{},
		ranges:   map[string]ownership.Range{},
		removals: map[string]ownership.Declaration{},
		leases:   map[string]ownership.Lease{},
		nodes:    map[string]ownership.Node{},
		pods:     map[string]ownership.Pod{},
	}
}

// Clone is a copy that shares nothing that changes: a backup, or a branch.
func (st *Store) Clone() *Store {
	out := *st
	out.pools, out.peers, out.ranges = maps.Clone(st.pools), maps.Clone(st.peers), maps.Clone(st.ranges)
	out.removals, out.leases = maps.Clone(st.removals), maps.Clone(st.leases)
	out.nodes, out.pods = maps.Clone(st.nodes), maps.Clone(st.pods)
	return &out
}

// Restore goes back to a backup. Resource versions go on, as they do when
// etcd is restored with a bumped revision.
func (st *Store) Restore(backup *Store) {
	counter := st.counter
	*st = *backup.Clone()
	st.counter = counter
}

func (st *Store) next() string {
	st.counter++
	return "v" + strconv.Itoa(st.counter)
}

func (st *Store) stamp(o *ownership.Object) { o.Version = st.next() }

func (st *Store) create(o *ownership.Object, kind string) {
	o.UID = kind + "-" + strings.TrimPrefix(st.next(), "v")
	o.Version = st.next()
}

func sorted[V any](m map[string]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// List is one LIST of a kind into s.
func (st *Store) List(kind string, s *ownership.Snapshot) {
	switch kind {
	case "pools":
		s.Pools = sorted(st.pools)
	case "removals":
		s.Removals = sorted(st.removals)
	case "peers":
		s.Peers = sorted(st.peers)
	case "ranges":
		s.Ranges = sorted(st.ranges)
	case "leases":
		s.Leases = sorted(st.leases)
	case "nodes":
		s.Nodes = sorted(st.nodes)
	case "pods":
		s.Pods = sorted(st.pods)
	}
}

// Lists are the kinds in the order in which the controller lists them.
var Lists = []string{"pools", "removals", "peers", "ranges", "leases", "nodes", "pods"}

// Snapshot lists everything at one moment, the pods of every node included.
func (st *Store) Snapshot() ownership.Snapshot {
	s := ownership.Snapshot{Consistent: true, PodsListed: map[string]bool{}}
	for _, kind := range Lists {
		st.List(kind, &s)
	}
	for name := range st.peers {
		s.PodsListed[name] = true
	}
	for _, r := range st.ranges {
		s.PodsListed[r.Owner.Name] = true
	}
	return s
}

// swap checks the precondition of a compare-and-swap.
func swap(found bool, have, want ownership.Object) error {
	if !found || have.UID != want.UID || have.Version != want.Version {
		return ErrConflict
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Apply makes one write of a controller.
func (st *Store) Apply(w ownership.Write) error {
	switch w := w.(type) {
	case ownership.CreateRange:
		return st.createRange(w)
	case ownership.UpdateRange:
		return st.updateRange(w)
	case ownership.DeleteRange:
		return st.deleteRange(w)
	case ownership.UpdatePeer:
		return st.updatePeer(w)
	case ownership.UpdatePeerStatus:
		return st.updatePeerStatus(w)
	case ownership.DeletePeer:
		return st.deletePeer(w)
	case ownership.SealLease:
		return st.sealLease(w)
	case ownership.DeleteLease:
		return st.deleteLease(w)
	case ownership.UpdateDeclaration:
		return st.updateDeclaration(w)
	case ownership.UpdatePool:
		return st.updatePool(w)
	case finish:
		return st.finish(w)
	}
	return fmt.Errorf("a write of an unknown kind: %T", w)
}

func (st *Store) createRange(w ownership.CreateRange) error {
	name := ownership.RangeName(w.CIDR)
	if _, ok := st.ranges[name]; ok {
		return ErrExists
	}
	r := ownership.Range{Pool: w.Pool, CIDR: w.CIDR}
	r.Name = name
	st.create(&r.Object, "range")
	st.ranges[name] = r
	return nil
}

func (st *Store) updateRange(w ownership.UpdateRange) error {
	have, ok := st.ranges[w.Before.Name]
	if err := swap(ok, have.Object, w.Before.Object); err != nil {
		return err
	}
	after := w.After
	// A PUT of the spec leaves the status as it is.
	after.Object, after.ObservedEpoch, after.Used, after.Sealed = have.Object, have.ObservedEpoch, have.Used, have.Sealed
	if err := rangeRules(have, after); err != nil && !st.Lax {
		return err
	}
	st.stamp(&after.Object)
	st.ranges[after.Name] = after
	return nil
}

// rangeRules are the schema's: see api/v1alpha1.
func rangeRules(was, now ownership.Range) error {
	moved := was.Owner != now.Owner
	want := was.PreviousOwner
	if was.Owner != (ownership.Ref{}) {
		want = was.Owner
	}
	sealed := was.Sealed != nil && was.Sealed.Epoch == was.Epoch &&
		(!was.Sealed.Keep.IsValid() || now.CIDR.Bits() <= was.Sealed.Keep.Bits())
	switch {
	case was.Pool != now.Pool:
		return invalid("pool is immutable")
	case now.CIDR.Addr() != was.CIDR.Addr() || now.CIDR.Bits() < was.CIDR.Bits():
		return invalid("cidr may only shrink")
	case moved != (now.Epoch == was.Epoch+1) || !moved && now.Epoch != was.Epoch:
		return invalid("epoch rises by one exactly when the owner changes")
	case moved && was.CIDR != now.CIDR:
		return invalid("one write changes the owner or the cidr")
	case moved && now.PreviousOwner != want:
		return invalid("previousOwner is the owner just replaced")
	case !moved && now.PreviousOwner != (ownership.Ref{}) && now.PreviousOwner != was.PreviousOwner:
		return invalid("previousOwner may only be cleared")
	case was.CIDR != now.CIDR && was.Owner != (ownership.Ref{}) && !sealed:
		return invalid("an owned range shrinks only to what its owner has sealed")
	case now.Keep != nil && now.Keep.IsValid() && (now.Keep.Addr() != now.CIDR.Addr() || now.Keep.Bits() < now.CIDR.Bits()):
		return invalid("keep starts where the range starts")
	}
	for _, res := range now.Reserved {
		if !now.CIDR.Contains(res.Address) {
			return invalid("reserved %s is not of this range", res.Address)
		}
	}
	return nil
}

func (st *Store) deleteRange(w ownership.DeleteRange) error {
	have, ok := st.ranges[w.Range.Name]
	if err := swap(ok, have.Object, w.Range.Object); err != nil {
		return err
	}
	if (have.Owner != (ownership.Ref{}) || len(have.Reserved) > 0) && !st.Lax {
		return invalid("a range that is owned or reserved is not deleted")
	}
	delete(st.ranges, w.Range.Name)
	return nil
}

func (st *Store) sealLease(w ownership.SealLease) error {
	have, ok := st.leases[w.Before.Name]
	if w.Before.Version == "" {
		if ok {
			return ErrExists
		}
		have = ownership.Lease{Duration: w.Before.Duration}
		have.Name = w.Before.Name
		st.create(&have.Object, "lease")
	} else if err := swap(ok, have.Object, w.Before.Object); err != nil {
		return err
	}
	have.Holder = Sealed
	have.SealedFor = slices.Clone(w.SealedFor)
	st.stamp(&have.Object)
	st.leases[have.Name] = have
	return nil
}

func (st *Store) deleteLease(w ownership.DeleteLease) error {
	have, ok := st.leases[w.Lease.Name]
	if err := swap(ok, have.Object, w.Lease.Object); err != nil {
		return err
	}
	delete(st.leases, w.Lease.Name)
	return nil
}

// Sealed is the holder of a sealed Lease.
const Sealed = "sealed"

func (st *Store) updatePool(w ownership.UpdatePool) error {
	have, ok := st.pools[w.Before.Name]
	if err := swap(ok, have.Object, w.Before.Object); err != nil {
		return err
	}
	if have.Finalizer != w.After.Finalizer {
		have.Finalizer = w.After.Finalizer
	} else {
		have.Claimed, have.Accepted = w.After.Claimed, w.After.Accepted
	}
	if have.Deleting && !have.Finalizer {
		delete(st.pools, have.Name)
		return nil
	}
	st.stamp(&have.Object)
	st.pools[have.Name] = have
	return nil
}

func (st *Store) updateDeclaration(w ownership.UpdateDeclaration) error {
	have, ok := st.removals[w.Before.Name]
	if err := swap(ok, have.Object, w.Before.Object); err != nil {
		return err
	}
	have.Finalizer = w.After.Finalizer
	if have.Deleting && !have.Finalizer {
		delete(st.removals, have.Name)
		return nil
	}
	st.stamp(&have.Object)
	st.removals[have.Name] = have
	return nil
}

// finish is the controller's write of a PeerRemoval's status: removed.
type finish struct {
	before ownership.Declaration
	uid    string
}

// Subject implements ownership.Write.
func (w finish) Subject() string { return "PeerRemoval/" + w.before.Name }

func (w finish) String() string { return "removal " + w.before.Name + ": Removed" }

func (st *Store) finish(w finish) error {
	have, ok := st.removals[w.before.Name]
	if err := swap(ok, have.Object, w.before.Object); err != nil {
		return err
	}
	have.Done, have.PeerUID = true, w.uid
	st.stamp(&have.Object)
	st.removals[have.Name] = have
	return nil
}
