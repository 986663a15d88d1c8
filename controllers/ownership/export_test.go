// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

// Rule is a rule that a test may switch off.
type Rule = rule

// Rules are all rules by name, so that a test can go through them.
var Rules = map[string]Rule{
	"Verify":         ruleVerify,
	"VerifyPods":     ruleVerifyPods,
	"Seal":           ruleSeal,
	"SealGeneration": ruleSealGeneration,
	"Watch":          ruleWatch,
	"WatchSealed":    ruleWatchSealed,
	"AckGeneration":  ruleAckGeneration,
	"Barrier":        ruleBarrier,
	"BarrierAbsent":  ruleBarrierAbsent,
	"BarrierSealed":  ruleBarrierSealed,
	"BarrierWatch":   ruleBarrierWatch,
	"Reserve":        ruleReserve,
	"ReservedStay":   ruleReservedStay,
	"Epoch":          ruleEpoch,
	"HeirFixed":      ruleHeirFixed,
	"HeirReady":      ruleHeirReady,
	"Orphans":        ruleOrphans,
	"OrphanUID":      ruleOrphanUID,
	"OrphanHolder":   ruleOrphanHolder,
	"GiveBackSealed": ruleGiveBackSealed,
	"Breaker":        ruleBreaker,
	"NodeLease":      ruleNodeLease,
	"RemovedEmpty":   ruleRemovedEmpty,
	"Term":           ruleTerm,
	"Forgotten":      ruleForgotten,
	"PoolOverlap":    rulePoolOverlap,
	"OutOfService":   ruleOutOfService,
	"Kubelet":        ruleKubelet,
	"LeaseSpent":     ruleLeaseSpent,
}

// Without is the configuration with a rule switched off.
func (c Config) Without(r Rule) Config {
	c.off |= r
	return c
}
