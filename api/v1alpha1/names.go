// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Names that are written into objects, and so are part of the API.
const (
	// OwnershipFinalizer holds a Peer until its addresses are safely someone else's.
	OwnershipFinalizer = "net.selvage.dev/ownership"
	// RemovalFinalizer holds a deleted PeerRemoval until its verdict is known.
	RemovalFinalizer = "net.selvage.dev/removal"
	// PoolFinalizer holds an AddressPool while ranges of it exist.
	PoolFinalizer = "net.selvage.dev/pool"

	// BreakGlassAnnotation carries the reason of a person who writes an
	// object that only Selvage writes. It works together with the RBAC verb
	// break-glass.
	BreakGlassAnnotation = "net.selvage.dev/break-glass"
	// ReleaseAnnotation, on an AddressPool, lets the controller begin the
	// removals that it holds back because too many nodes vanished at once.
	ReleaseAnnotation = "net.selvage.dev/release-removals"

	// LeasePrefix and a peer's name are the name of its Lease, which lies in
	// the namespace that Selvage is installed in.
	LeasePrefix = "peer-"
	// CutOffAnnotation, on a peer's Lease, is the agent's report: the uids of
	// the removed incarnations that it has cut off, sorted, by commas.
	CutOffAnnotation = "net.selvage.dev/cut-off"
	// SealedForAnnotation, on a sealed Lease, is the controller's: what it was
	// sealed for, by commas: uid@generation of the peer's own removal, or the
	// uid of a removed incarnation whose barrier exempts this peer.
	SealedForAnnotation = "net.selvage.dev/sealed-for"
	// TermAnnotation, on a peer's Lease, echoes the holder of the
	// controllers' leader Lease after the agent has compared its memory with
	// consistent LISTs.
	TermAnnotation = "net.selvage.dev/term"
	// SealedHolder is the holderIdentity of a sealed Lease: no renewal of an
	// earlier run can succeed any more. Otherwise it is uid/run.
	SealedHolder = "sealed"
	// LeaderLease is the name of the controllers' leader election Lease.
	LeaderLease = "selvage-controller"

	// OutOfServiceTaint on a Node says that it is powered off (KEP-2268).
	OutOfServiceTaint = "node.kubernetes.io/out-of-service"
)

// Condition types.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"
	ConditionFenced      = "Fenced"
	ConditionAccepted    = "Accepted"
	ConditionExhausted   = "Exhausted"
	// ConditionClaimed is the first half of accepting a pool: claim, LIST, accept.
	ConditionClaimed = "Claimed"
	// ConditionRemovalsHeld, on an AddressPool: too many nodes vanished at once.
	ConditionRemovalsHeld = "RemovalsHeld"
)
