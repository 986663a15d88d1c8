// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

// rule names a rule that the protocol rests on. Each can be switched off, by
// tests alone, to see which invariant it guards.
type rule uint64

const (
	// ruleVerify: a claim that overlaps another range is not granted.
	ruleVerify rule = 1 << iota
	// ruleVerifyPods: nor one in which a pod carries an address.
	ruleVerifyPods
	// ruleSeal: no transfer before the lease is sealed for this removal.
	ruleSeal
	// ruleSealGeneration: a seal made for an older generation is no evidence.
	ruleSealGeneration
	// ruleWatch: a lease runs out only after it was watched the full time.
	ruleWatch
	// ruleWatchSealed: one found sealed is watched the full time too.
	ruleWatchSealed
	// ruleAckGeneration: an acknowledgement of an older generation counts for
	// nothing.
	ruleAckGeneration
	// ruleBarrier: ranges move once every other peer has cut the old owner off.
	ruleBarrier
	// ruleBarrierAbsent: a peer whose Lease is absent is waited for.
	ruleBarrierAbsent
	// ruleBarrierSealed: a sealed Lease counts only if sealed for this barrier.
	ruleBarrierSealed
	// ruleBarrierWatch: a silent peer is exempt only once it was watched.
	ruleBarrierWatch
	// ruleReserve: addresses that pods still carry are reserved as ranges move.
	ruleReserve
	// ruleReservedStay: what is reserved is neither deleted nor shrunk away.
	ruleReservedStay
	// ruleEpoch: the epoch rises with the owner.
	ruleEpoch
	// ruleHeirFixed: the ranges go to the heir that Transferring has fixed.
	ruleHeirFixed
	// ruleHeirReady: an heir is Active, alive and without a removal.
	ruleHeirReady
	// ruleOrphans: what a removed or vanished incarnation still owns moves on.
	ruleOrphans
	// ruleOrphanUID: an owner is known by uid, not by name.
	ruleOrphanUID
	// ruleOrphanHolder: that another holds the Lease counts from when it was seen.
	ruleOrphanHolder
	// ruleGiveBackSealed: a range is taken back only once its owner sealed it.
	ruleGiveBackSealed
	// ruleBreaker: too many removals at once are held back.
	ruleBreaker
	// ruleNodeLease: a vanished Node's peer goes only once its lease ran out.
	ruleNodeLease
	// ruleRemovedEmpty: Removed follows only once the peer owns nothing.
	ruleRemovedEmpty
	// ruleTerm: nothing moves before every agent has checked its memory.
	ruleTerm
	// ruleForgotten: nor while pods may hold what the API has forgotten, and
	// are heard.
	ruleForgotten
	// rulePoolOverlap: a pool that overlaps an accepted one is not accepted.
	rulePoolOverlap
	// ruleOutOfService: a taint alone is no evidence, the lease has to run out.
	ruleOutOfService
	// ruleKubelet: a lease's end alone fences no node whose kubelet is alive.
	ruleKubelet
	// ruleLeaseSpent: a sealed Lease goes only once nothing can ask for it.
	ruleLeaseSpent
)

// on reports whether a rule holds: always, but for tests.
func (c Config) on(r rule) bool { return c.off&r == 0 }
