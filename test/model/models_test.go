// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

// promelaModel is one of the models in promela, and what to leave out of it.
type promelaModel struct {
	name string
	// wider are the definitions with which it is verified when time allows.
	wider     []string
	mutations []mutation
}

// mutation leaves one rule out.
type mutation struct {
	flag string
	// breaks is the invariant that then breaks.
	breaks string
	// rule is what is left out.
	rule string
	// superfluous: nothing breaks. The rule is not in the model, or not in the
	// product, and the note says why not.
	superfluous bool
}

var promelaModels = []promelaModel{
	{name: "claims", wider: []string{"CONTROLLERS=3"}, mutations: []mutation{
		{flag: "NO_VERIFY", breaks: "Disjoint", rule: "what overlaps is not granted"},
		{flag: "OWNED_VERIFY", breaks: "Disjoint", rule: "claims are in the way too, not only what is owned"},
		{flag: "EARLY_LIST", breaks: "Disjoint", rule: "the LIST that verifies begins after the claim is there"},
		{flag: "GRANT_WITHOUT_CAS", breaks: "Disjoint", rule: "a grant is a compare-and-swap"},
		{flag: "DELETE_WITHOUT_CAS", breaks: "NoLoss", rule: "a delete carries uid and version"},
		{flag: "GRANT_AT_ONCE", breaks: "Disjoint", rule: "a range begins as a claim"},
	}},
	{name: "fence", mutations: []mutation{
		{flag: "NO_SEAL", breaks: "Fenced", rule: "no transfer before the Lease is sealed"},
		{flag: "ANY_SEAL", breaks: "Fenced", rule: "a seal counts for the generation it was made for"},
		{flag: "ANY_ACK", breaks: "Fenced", rule: "an acknowledgement counts for the generation that it names"},
		{flag: "NO_WATCH", breaks: "Fenced", rule: "a Lease has run out when it was watched for its full time"},
		{flag: "NO_WATCH_SEALED", breaks: "Fenced", rule: "one that is found sealed is watched, too"},
		{flag: "WATCH_ABSENT", breaks: "Fenced", rule: "an absent Lease is not watched, but made, sealed"},
		{flag: "DRIFT", breaks: "Fenced", rule: "clocks drift by less than the margin"},
		{flag: "TAKE_ABSENT", breaks: "Fenced", rule: "an absent Lease is not taken"},
		{flag: "TAKE_WITHOUT_LISTS", breaks: "Fenced", rule: "the LISTs come after the Lease that is to be taken was read"},
		{flag: "TAKE_WITHOUT_CAS", breaks: "Fenced", rule: "taking is a compare-and-swap"},
		{flag: "RENEW_WITHOUT_CAS", breaks: "Fenced", rule: "a renewal is a compare-and-swap"},
		{flag: "SEAL_WITHOUT_CAS", breaks: "Fenced", rule: "a seal is a compare-and-swap of what was watched"},
		{flag: "PEER_WITHOUT_CAS", breaks: "Monotone", rule: "a phase is a compare-and-swap of the Peer"},
		{flag: "NO_GATE", breaks: "Fenced", rule: "the agent stops when its own clock says so"},
		{flag: "GATE_FROM_ANSWER", breaks: "Fenced", rule: "a renewal is good from when it was sent"},
		{flag: "ACK_WHILE_SERVING", breaks: "Fenced", rule: "the agent stops before it acknowledges"},
	}},
	{name: "barrier", mutations: []mutation{
		{flag: "NO_BARRIER", breaks: "OneHolder", rule: "ranges move once every other peer has cut the old owner off"},
		{flag: "ANY_SEALED", breaks: "OneHolder", rule: "a sealed Lease exempts if it was sealed for this barrier"},
		{flag: "ABSENT_PASSES", breaks: "OneHolder", rule: "a peer without a Lease is waited for"},
		{flag: "NO_WATCH", breaks: "OneHolder", rule: "a silent peer is exempt once it was watched"},
		{flag: "BARRIER_BEFORE_TRANSFER", breaks: "OneHolder", rule: "the barrier begins when Transferring is durable"},
		{flag: "NO_CUT", breaks: "OneHolder", rule: "an agent cuts off what is removed"},
		{flag: "REPORT_FIRST", breaks: "OneHolder", rule: "and only then reports it"},
		{flag: "TAKE_WITHOUT_LISTS", breaks: "OneHolder", rule: "a Lease is taken after LISTs"},
		{flag: "TAKE_ABSENT", breaks: "OneHolder", rule: "an absent Lease is not taken"},
	}},
	{name: "orphans", mutations: []mutation{
		{flag: "NO_ORPHANS", breaks: "NoLoss", rule: "what somebody gone owns moves on"},
		{flag: "BY_NAME", breaks: "NoLoss", rule: "an owner is known by uid"},
		{flag: "NO_FENCE", breaks: "Fenced", rule: "an owner that no Peer is has to be fenced too"},
		{flag: "NO_WATCH", breaks: "Fenced", rule: "its Lease is watched before it is sealed"},
		{flag: "OTHER_AT_ONCE", breaks: "Fenced", rule: "if another holds its Lease, there is a wait all the same"},
		{flag: "ONLY_MISSED", breaks: "Fenced", rule: "which counts from when the other was seen to hold it"},
		{flag: "ONLY_OTHER", superfluous: true, rule: "and from when the incarnation was missed: the other has its Lease only since that one was gone"},
	}},
	{name: "return", mutations: []mutation{
		{flag: "BY_NAME", breaks: "OneHolder", rule: "an agent is who made its Peer, by instanceID, not by name"},
		{flag: "NO_FINGERPRINT", breaks: "OneHolder", rule: "a disk in another machine contends"},
		{flag: "NO_CUT", breaks: "OneHolder", rule: "from scratch means that leftover pods are cut off first"},
		{flag: "NO_FENCED_MARK", breaks: "Fenced", rule: "a disk that says fenced never resumes that incarnation (once etcd was restored)"},
		{flag: "ACK_FIRST", breaks: "Progress", rule: "acknowledged is on disk before it is in the API"},
		{flag: "NO_NODE_ROW", breaks: "Progress", rule: "a Node that was registered anew has an agent that starts from scratch"},
		{flag: "KEEP_ACK", breaks: "StateRegressed", rule: "what was acknowledged is taken back from the disk as an agent resumes"},
		{flag: "MINT_LATER", superfluous: true, rule: "instanceID is durable before the Peer is made: it saves a wait, since a machine that contends with what it made itself supersedes it"},
	}},
	{name: "heirs", mutations: []mutation{
		{flag: "ANY_HEIR", breaks: "Progress", rule: "an heir is Active, and without a removal"},
		{flag: "HEIR_NOT_FIXED", breaks: "OneHeir", rule: "Transferring fixes the heir"},
		{flag: "NO_ORPHANS", breaks: "NoLoss", rule: "what comes to a peer that is Removed moves on"},
		{flag: "NO_INHERITANCE", superfluous: true, rule: "an heir that goes waits for what comes to it: it is for what is reported, since the orphan rule moves on what comes late"},
		{flag: "REMOVED_EARLY", superfluous: true, rule: "Removed once nothing is owned: it is for what people are told, since the orphan rule moves on what is left"},
	}},
	{name: "giveback", mutations: []mutation{
		{flag: "NO_SEAL", breaks: "Fenced", rule: "a range is taken back once its owner has sealed it"},
		{flag: "ANY_EPOCH", breaks: "Fenced", rule: "a seal counts for the epoch that it names"},
		{flag: "SEAL_IN_USE", breaks: "Fenced", rule: "an agent seals what no link has an address of"},
		{flag: "SEAL_AND_SERVE", breaks: "Fenced", rule: "and gives out nothing there any more"},
		{flag: "UNSEAL", breaks: "Fenced", rule: "only a new epoch undoes a seal"},
		{flag: "OLD_NEWS", breaks: "Fenced", rule: "an agent never acts on a lower epoch than it has seen"},
	}},
}
