// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// killers says, for each rule of the protocol, what breaks when it is out. A
// rule of the controller's has a scenario of its own name (see mutants) in any
// case. More is one of
//
//	explore UNIVERSE       every order of steps of the real decisions
//	model NAME FLAG        a model for Spin, with that flag
//	test DIRECTORY NAME    a test that says so by its name
var killers = map[string][]string{
	// Granting.
	"Verify":                              {"explore claims", "model claims NO_VERIFY", "model claims OWNED_VERIFY", "model claims EARLY_LIST"},
	"VerifyPods":                          {},
	"Epoch":                               {},
	"PoolOverlap":                         {"explore pools", "test test/model TestConversations"},
	"a range begins as a claim":           {"model claims GRANT_AT_ONCE"},
	"a grant is a compare-and-swap":       {"model claims GRANT_WITHOUT_CAS"},
	"a delete carries uid and version":    {"model claims DELETE_WITHOUT_CAS", "test controllers TestMuseum_coil_garbage_collector_deleted_by_name"},
	"GiveBackSealed":                      {"model giveback NO_SEAL", "test node-agent/membership TestKeepAndSeal"},
	"ReservedStay":                        {},
	"Term":                                {"test test/e2e/agent TestTrouble_TermIsEchoed"},
	"Forgotten":                           {"test test/sim TestScripts"},
	"an epoch never falls without notice": {"test node-agent/membership TestFoldRegressed", "test test/e2e/agent TestTrouble_EpochFell"},

	"a seal counts for its epoch":          {"model giveback ANY_EPOCH", "test node-agent/membership TestKeepAndSeal"},
	"what is sealed is idle, and stays so": {"model giveback SEAL_IN_USE", "model giveback SEAL_AND_SERVE", "model giveback UNSEAL"},
	"no lower epoch is acted on":           {"model giveback OLD_NEWS", "test node-agent/membership TestFoldRegressed"},

	// Evidence.
	"Seal":                              {"model fence NO_SEAL"},
	"SealGeneration":                    {"model fence ANY_SEAL"},
	"AckGeneration":                     {"explore cancel", "model fence ANY_ACK"},
	"Watch":                             {"model fence NO_WATCH"},
	"WatchSealed":                       {"model fence NO_WATCH_SEALED"},
	"OutOfService":                      {"test controllers/ownership TestForgottenTaint"},
	"Kubelet":                           {},
	"NodeLease":                         {},
	"Breaker":                           {},
	"LeaseSpent":                        {"test controllers/ownership TestSpent"},
	"absence is not watched":            {"model fence WATCH_ABSENT"},
	"a seal is a compare-and-swap":      {"model fence SEAL_WITHOUT_CAS"},
	"a phase is a compare-and-swap":     {"model fence PEER_WITHOUT_CAS"},
	"clocks drift less than the margin": {"model fence DRIFT"},

	// Moving.
	"Barrier":                          {"explore barrier", "model barrier NO_BARRIER"},
	"BarrierAbsent":                    {"model barrier ABSENT_PASSES"},
	"BarrierSealed":                    {"model barrier ANY_SEALED"},
	"BarrierWatch":                     {"model barrier NO_WATCH"},
	"the barrier follows Transferring": {"model barrier BARRIER_BEFORE_TRANSFER"},
	"Reserve":                          {},
	"HeirFixed":                        {"model heirs HEIR_NOT_FIXED"},
	"HeirReady":                        {"model heirs ANY_HEIR"},
	"RemovedEmpty":                     {},
	"Orphans":                          {"model orphans NO_ORPHANS", "model heirs NO_ORPHANS"},
	"OrphanUID":                        {"model orphans BY_NAME"},
	"OrphanHolder":                     {"model orphans ONLY_MISSED", "model orphans OTHER_AT_ONCE"},
	"an orphan's owner is fenced":      {"model orphans NO_FENCE", "model orphans NO_WATCH"},

	// The agent's Lease.
	"an absent Lease is not taken": {
		"explore spent", "model fence TAKE_ABSENT", "model barrier TAKE_ABSENT", "test node-agent/membership TestLeasePlaced",
	},
	"a Lease is taken after LISTs": {
		"model fence TAKE_WITHOUT_LISTS", "model barrier TAKE_WITHOUT_LISTS",
	},
	"taking is a compare-and-swap of what was read": {"model fence TAKE_WITHOUT_CAS", "test node-agent/membership TestLeaseTakenOnWhatWasRead"},
	"a renewal is a compare-and-swap":               {"model fence RENEW_WITHOUT_CAS", "test node-agent/membership TestLeaseSealed"},
	"the agent's own clock ends it": {
		"model fence NO_GATE", "test node-agent/membership TestLeaseRunsOut", "test node-agent/cniserver TestLeaseThatEndsMeanwhile",
		"test test/e2e/agent TestTrouble_SuspendedMachine",
	},
	"a renewal is good from when it was sent": {"model fence GATE_FROM_ANSWER", "test node-agent/membership TestLeaseCountsFromBeforeTheRequest"},
	"one run of an incarnation":               {"test node-agent/membership TestLeaseCloned"},

	// What an agent says, and when.
	"an agent stops before it acknowledges": {"model fence ACK_WHILE_SERVING"},
	"on disk before in the API":             {"model return ACK_FIRST"},
	"a cancelled acknowledgement leaves the disk": {
		"model return KEEP_ACK",
	},
	"what is removed is cut off": {"model barrier NO_CUT", "test node-agent/membership TestFoldCutsOffForGood"},
	"cut off, then reported":     {"model barrier REPORT_FIRST", "test test/e2e/agent TestTrouble_CutOffIsReported"},

	// Starting an agent.
	"the start-up table":                      {"test node-agent/membership TestDecideIsTheTable", "test node-agent/membership TestDecideIsSafe"},
	"who made the Peer, not who has the name": {"model return BY_NAME"},
	"a disk in another machine contends":      {"model return NO_FINGERPRINT"},
	"a fenced disk never resumes":             {"model return NO_FENCED_MARK"},
	"leftover pods are cut off":               {"model return NO_CUT"},
	"a Node registered anew":                  {"model return NO_NODE_ROW"},
}

// TestEveryRuleIsKilled: no rule without something that fails when it is out.
func TestEveryRuleIsKilled(t *testing.T) {
	for _, rule := range sortedNames(ownership.Rules) {
		if _, ok := killers[rule]; !ok {
			t.Errorf("%s: not in the list of rules", rule)
		}
	}
	of := map[string]int{}
	for _, rule := range sortedNames(killers) {
		_, scenario := mutants[rule]
		if _, ours := ownership.Rules[rule]; ours != scenario {
			t.Errorf("%s: a rule of the controller's: %t, a scenario shows what breaks without it: %t", rule, ours, scenario)
		}
		if !scenario && len(killers[rule]) == 0 {
			t.Errorf("%s: nothing breaks without it", rule)
		}
		for _, killer := range killers[rule] {
			kind, what, _ := strings.Cut(killer, " ")
			of[kind]++
			if why := missing(rule, kind, strings.Fields(what)); why != "" {
				t.Errorf("%s: %q: %s", rule, killer, why)
			}
		}
	}
	t.Logf("%d rules, %d scenarios; and %v", len(killers), len(mutants), of)
}

// missing says why a killer is none.
func missing(rule, kind string, what []string) string {
	root := filepath.Join("..", "..")
	switch {
	case kind == "explore" && len(what) == 1:
		u, ok := universes[what[0]]
		if !ok || !slices.Contains(u.mutants, rule) && u.breaks == nil {
			return "there is no such exploration without that rule"
		}
		return ""
	case kind == "model" && len(what) == 2:
		// That every such flag is tried is what TestPromelaFlags holds.
		return lacks(filepath.Join(root, "test", "model", "promela", what[0]+".pml"), `(?m)^#\s*if.*\b`+what[1]+`\b`)
	case kind == "test" && len(what) == 2:
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(what[0]), "*_test.go"))
		if err != nil || len(files) == 0 {
			return "there are no tests"
		}
		for _, file := range files {
			if lacks(file, `(?m)^func `+what[1]+`\(t \*testing\.T\)`) == "" {
				return ""
			}
		}
		return "there is no such test"
	}
	return "not a killer"
}

func lacks(file, pattern string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if !regexp.MustCompile(pattern).Match(text) {
		return "is not in " + file
	}
	return ""
}
