// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ownership decides who owns which addresses. It is pure: a Snapshot
// of the API, a Memory of what this process has watched, and a time go in; the
// next writes, waits and events come out. No client, clock or logger inside.
package ownership

import (
	"net/netip"
	"time"
)

// Snapshot is what the controller has read. Each list is one consistent LIST
// (resourceVersion unset) when Consistent is set, else a cache's view: no
// write is made that was decided on a view that is not consistent. The lists
// are not one transaction: Removals are listed before Peers, and those before
// Ranges and Leases.
type Snapshot struct {
	Consistent bool
	Pools      []Pool
	Peers      []Peer
	Ranges     []Range
	Removals   []Declaration
	Leases     []Lease
	Nodes      []Node
	// Pods that carry an address, and are neither finished nor on the host's
	// network: from a cache, except for those on the nodes named in
	// PodsListed, which were listed for this snapshot.
	Pods       []Pod
	PodsListed map[string]bool
}

// Object is what every write's precondition needs: a compare-and-swap is made
// on UID and Version, a delete carries both.
type Object struct {
	Name, UID string
	// Version is the resourceVersion that was read.
	Version  string
	Deleting bool
	// Finalizer: ours is on the object.
	Finalizer bool
}

// Ref names one incarnation of a peer. The zero Ref is nobody.
type Ref struct{ Name, UID string }

// Pool is an AddressPool.
type Pool struct {
	Object
	Generation int64
	CIDR       netip.Prefix
	// First and Max are the prefix lengths of the first and of the largest
	// range, defaults applied. Invariant: CIDR.Bits() <= Max <= First.
	First, Max int
	// Claimed, then Accepted: a pool is divided only once it is accepted.
	Claimed, Accepted bool
	// Release: a person lets the removals go on that are held back because
	// too many nodes vanished at once.
	Release bool
}

// Range is an AddressRange.
type Range struct {
	Object
	Pool          string
	CIDR          netip.Prefix
	Owner         Ref
	PreviousOwner Ref
	// Epoch rises by one on every change of owner; 0 is a claim, never owned.
	Epoch    int64
	Reserved []Reservation
	// Keep is what is not asked back; nil: nothing is asked back; the zero
	// Prefix: all of the range is asked back.
	Keep *netip.Prefix

	// The owning agent's report.
	ObservedEpoch int64
	// Used counts the host's own address too.
	Used   int64
	Sealed *Seal
}

// Reservation withholds Address while the Pod of that uid carries it.
type Reservation struct {
	Address netip.Addr
	PodUID  string
}

// Seal is an agent's promise, in one epoch, that it holds and gives nothing
// outside Keep; the zero Keep: nothing of the range at all.
type Seal struct {
	Epoch int64
	Keep  netip.Prefix
}

// Phase is a Peer's phase; empty is Active.
type Phase string

// The phases of a peer's removal: one way from Transferring on.
const (
	Active       Phase = "Active"
	Fencing      Phase = "Fencing"
	Transferring Phase = "Transferring"
	Removed      Phase = "Removed"
)

// Evidence says why a peer is believed to allocate no more.
type Evidence string

// The kinds of evidence.
const (
	AgentAcknowledged Evidence = "AgentAcknowledged"
	LeaseExpired      Evidence = "LeaseExpired"
	NodeOutOfService  Evidence = "NodeOutOfService"
	Asserted          Evidence = "Asserted"
	NeverJoined       Evidence = "NeverJoined"
)

// Reason says who decided that a peer goes.
type Reason string

// Who decided that a peer goes.
const (
	Declared   Reason = "Declared"
	NodeGone   Reason = "NodeGone"
	Superseded Reason = "Superseded"
	Leaving    Reason = "Leaving"
)

// Peer is a Peer object: one incarnation of a node's membership.
type Peer struct {
	Object
	Generation int64
	NodeUID    string
	InstanceID string
	Removal    *Removal
	Phase      Phase
	Result     *Result
	// Underlay addresses that the controller has accepted.
	Underlay []netip.Addr
	Report   Report
}

// Removal is the record of an accepted declaration, or of the controller's own
// decision. Heir is a name: who that is gets fixed with Transferring.
type Removal struct {
	Reason     Reason
	RemovalUID string
	Heir       string
	AssertDown bool
	CutOff     bool
}

// Result is what became of a removal. Evidence and Heir are fixed from
// Transferring on.
type Result struct {
	Evidence  Evidence
	Heir      Ref
	Ranges    int
	Addresses int64
}

// Report is what the agent says (status.agent).
type Report struct {
	// Present: an agent has reported at all.
	Present  bool
	NodeUID  string
	Underlay []netip.Addr
	// Headroom is the number of addresses the agent wants free in each pool;
	// negative: not given.
	Headroom int64
	Pools    map[string]PoolUse
	// FencedGeneration is the generation whose removal is acknowledged; 0: none.
	FencedGeneration int64
	Leaving          bool
	// Contender is the instanceID of another instance on that node.
	Contender string
	// Regressed: it remembers more than the API server shows it.
	Regressed bool
}

// PoolUse is one pool as one peer sees it.
type PoolUse struct{ Capacity, Used int64 }

// Declaration is a PeerRemoval: Object.Name is the peer's name.
type Declaration struct {
	Object
	Generation int64
	Heir       string
	AssertDown bool
	InstanceID string
	// PeerUID is the incarnation it is bound to, once accepted.
	PeerUID string
	// Done: its phase is Removed.
	Done bool
}

// Lease is a peer's Lease. Object.Name is the peer's name, without the prefix.
type Lease struct {
	Object
	// Holder is "uid/run", or "sealed".
	Holder string
	// Duration is the one written in the last renewal.
	Duration time.Duration
	// CutOff: the removed incarnations that the agent reports as cut off.
	CutOff []string
	// SealedFor: what the controller sealed it for: "uid@generation" of the
	// peer's own removal, or the uid of an incarnation whose barrier exempts
	// this peer.
	SealedFor []string
	// Term is the leader that the agent has checked its memory for.
	Term string
}

// Node is a Kubernetes Node.
type Node struct {
	Name, UID     string
	Unschedulable bool
	// OutOfService: it has the taint node.kubernetes.io/out-of-service.
	OutOfService bool
	Addresses    []netip.Addr
	// Pools whose selector matches the node.
	Pools map[string]bool
	// Heartbeat is the resourceVersion of the kubelet's Lease, and
	// HeartbeatDuration that Lease's duration; empty: there is none.
	Heartbeat         string
	HeartbeatDuration time.Duration
}

// Pod is a pod with addresses of its own.
type Pod struct {
	UID, Namespace, Name, Node string
	Addresses                  []netip.Addr
	// Daemon: owned by a DaemonSet, or static: a drain leaves it.
	Daemon bool
}

// Config holds what flags set. Durations are on the controller's own clock.
type Config struct {
	// LeaseDuration seals a Lease that carries none, or is absent.
	LeaseDuration time.Duration
	// ClaimTimeout: a claim watched unchanged for so long is swept.
	ClaimTimeout time.Duration
	// GracePeriod: how long a Node must have been gone before the controller
	// removes its peer of its own accord, and the window in which too many
	// such removals hold each other back.
	GracePeriod time.Duration
	// MaxRemovals is the share (0..1] of the peers, and never fewer than
	// three, that may be removed on the controller's own initiative within
	// the grace period.
	MaxRemovals float64
	// Term, if not empty, is the leader that every unsealed Lease must name
	// before anything is granted or transferred.
	Term string
	// Seed, if not zero, randomises what is picked, so that two writers that
	// met in a conflict do not meet again for ever.
	Seed uint64

	// off are rules that a test has switched off to see an invariant break.
	off rule
}

// Decision is what is to be done now. Writes are in order: the shell stops a
// thread of writes about the same subject at its first error. Every prefix is
// safe.
type Decision struct {
	Writes []Write
	Waits  []Wait
	Events []Event
	// Held are pools whose peers' removals are held back: too many at once.
	Held []string
	// ListPods are nodes whose pods must be listed for the snapshot before
	// ranges can move: list them (PodsListed) and decide again.
	ListPods []string
	// Recheck is when, on the controller's clock, to decide again though
	// nothing is seen to change; 0: never.
	Recheck time.Duration
}

// Write is one compare-and-swap, create or delete.
type Write interface {
	// Subject groups writes: after an error the rest of the same subject is
	// not tried.
	Subject() string
	String() string
}

// The writes. Before is what was read (its UID and Version are the
// precondition), After what is to be there.
type (
	// CreateRange claims CIDR: no owner, epoch 0.
	CreateRange struct {
		Pool string
		CIDR netip.Prefix
	}
	// UpdateRange is a PUT of the spec.
	UpdateRange struct{ Before, After Range }
	// DeleteRange deletes with uid and resourceVersion.
	DeleteRange struct{ Range Range }
	// UpdatePeer is a PUT of spec and metadata (removal, nodeUID, finalizer).
	UpdatePeer struct{ Before, After Peer }
	// UpdatePeerStatus is a PUT of the controller's part of the status: phase,
	// result and underlay. FencedNow and CompletedNow set those times.
	UpdatePeerStatus struct{ Before, After Peer }
	// DeletePeer deletes with uid and resourceVersion.
	DeletePeer struct{ Peer Peer }
	// SealLease writes holder "sealed"; with an empty Before.Version it
	// creates the Lease sealed.
	SealLease struct {
		Before    Lease
		SealedFor []string
	}
	// DeleteLease deletes with uid and resourceVersion.
	DeleteLease struct{ Lease Lease }
	// UpdateDeclaration is a PUT of the finalizer.
	UpdateDeclaration struct{ Before, After Declaration }
	// UpdatePool is a PUT of finalizer, or of Claimed and Accepted.
	UpdatePool struct{ Before, After Pool }
)

// Wait says what something waits for, and what would move it on.
type Wait struct {
	// Kind and Name of the object that waits: Peer, PeerRemoval, AddressPool.
	Kind, Name string
	// Reason is a CamelCase word for conditions, Message a sentence.
	Reason, Message string
	// Stalled: only a person can move it on.
	Stalled bool
	// Until is when it may move on by itself, on the controller's clock; 0: unknown.
	Until time.Duration
}

// Event is raised once its write has succeeded: After is an index into
// Decision.Writes, or -1 for one that no write goes with.
type Event struct {
	After           int
	Kind, Name, UID string
	Warning         bool
	Reason, Message string
}
