// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

// Steps in the life of the peer host3.
const (
	declared     = `spec: {removal: {reason: Declared, removalUID: removal-1, heir: host1}}`
	noHeir       = `spec: {removal: {reason: NodeGone}}`
	cancelled    = `spec: {removal: null}`
	fencing      = `status: {phase: Fencing}`
	transferring = `status: {phase: Transferring, removal: {evidence: LeaseExpired, heir: {name: host1, uid: uid-1}}}`
	removed      = `status: {phase: Removed}`
)

var (
	inFencing      = []string{declared, fencing}
	inTransferring = []string{declared, fencing, transferring}
	inRemoved      = []string{declared, fencing, transferring, removed}
)

var peerRules = []rule{
	{
		kind: kindPeer, message: "a Peer is named after its node",
		refuses: []attempt{{what: "another name", name: "host4"}},
		passes:  []attempt{{what: "the node's name"}},
	},
	{
		kind: kindPeer, message: "a peer cannot be its own heir",
		refuses: []attempt{{what: "itself", try: `spec: {removal: {reason: Declared, heir: host3}}`}},
		passes:  []attempt{{what: "another", try: declared}, {what: "nobody", try: noHeir}},
	},
	{
		kind: kindPeer, at: ".spec.nodeName", message: "nodeName is immutable",
		refuses: []attempt{{what: "another node", try: `spec: {nodeName: host4}`}},
		passes:  []attempt{{what: "the same node, registered anew", try: `spec: {nodeName: host3, nodeUID: node-4}`}},
	},
	{
		kind: kindPeer, at: ".spec.instanceID", message: "instanceID is immutable: another instance joins only once this Peer is gone",
		refuses: []attempt{{what: "another instance", try: `spec: {instanceID: instance-4}`}},
		passes:  []attempt{{what: "the same instance", try: `spec: {instanceID: instance-3, nodeUID: node-4}`}},
	},
	{
		kind: kindPeer, at: ".spec.removal", message: "the heir is immutable: cancel the removal first",
		says: "removal declared already, ",
		refuses: []attempt{
			{what: "another heir", given: []string{declared}, try: `spec: {removal: {heir: host2}}`},
			{what: "taking the heir away", given: []string{declared}, try: `spec: {removal: {heir: null}}`},
			{what: "an heir afterwards", given: []string{noHeir}, try: `spec: {removal: {heir: host1}}`},
		},
		passes: []attempt{
			{what: "the same heir", given: []string{declared}, try: `spec: {removal: {cutOff: true}}`},
			{what: "another after a cancel", given: []string{declared, fencing, cancelled}, try: `spec: {removal: {reason: Declared, removalUID: removal-2, heir: host2}}`},
		},
	},
	{
		kind: kindPeer, at: ".spec.removal", message: "the declaration is immutable: cancel it first",
		refuses: []attempt{
			{what: "another reason", given: []string{declared}, try: `spec: {removal: {reason: Leaving}}`},
			{what: "another PeerRemoval", given: []string{declared}, try: `spec: {removal: {removalUID: removal-2}}`},
			{what: "a PeerRemoval afterwards", given: []string{noHeir}, try: `spec: {removal: {removalUID: removal-1}}`},
		},
		passes: []attempt{{what: "the same", given: []string{declared}, try: `spec: {removal: {cutOff: true}}`}},
	},
	{
		kind: kindPeer, at: ".spec.removal", message: "assertDown can be added, not taken back: cancel the removal first",
		refuses: []attempt{{what: "taking it back", given: []string{declared, `spec: {removal: {assertDown: true}}`}, try: `spec: {removal: {assertDown: false}}`}},
		passes:  []attempt{{what: "adding it", given: []string{declared}, try: `spec: {removal: {assertDown: true}}`}},
	},
	{
		kind: kindPeer, at: ".status.agent.underlay[]", message: "not an IP address",
		refuses: []attempt{{what: "a name", try: `status: {agent: {underlay: [host3.example]}}`}},
		passes:  []attempt{{what: "both families", try: `status: {agent: {underlay: [192.0.2.3, "2001:db8::3"]}}`}},
	},
	{
		kind: kindPeer, at: ".status.underlay[]", message: "not an IP address",
		refuses: []attempt{{what: "a CIDR", try: `status: {underlay: [192.0.2.3/32]}`}},
		passes:  []attempt{{what: "both families", try: `status: {underlay: [192.0.2.3, "2001:db8::3"]}`}},
	},
}

var peerPhaseRules = []rule{
	{
		kind: kindPeer, message: "ownership is moving or has moved: this removal can be neither cancelled nor added; see status.removal for the heir",
		refuses: []attempt{
			{what: "a cancel in Transferring", given: inTransferring, try: cancelled},
			{what: "a cancel in Removed", given: inRemoved, try: cancelled},
		},
		passes: []attempt{{what: "a cancel in Fencing", given: inFencing, try: cancelled}, {what: "a cancel before", given: []string{declared}, try: cancelled}},
	},
	{
		kind: kindPeer, message: "Transferring needs spec.removal",
		refuses: []attempt{{what: "a transfer after a cancel", given: []string{declared, fencing, cancelled}, try: transferring}},
		passes:  []attempt{{what: "a transfer", given: inFencing, try: transferring}, {what: "Active after a cancel", given: []string{declared, fencing, cancelled}, try: `status: {phase: Active}`}},
	},
	{
		kind: kindPeer, message: "phase: Transferring follows Fencing",
		refuses: []attempt{{what: "a transfer from nowhere", given: []string{declared}, try: transferring}, {what: "a transfer from Active", given: []string{declared, `status: {phase: Active}`}, try: transferring}},
		passes:  []attempt{{what: "a transfer from Fencing", given: inFencing, try: transferring}},
	},
	{
		kind: kindPeer, message: "phase: Transferring leads only to Removed",
		refuses: []attempt{
			{what: "back to Fencing", given: inTransferring, try: fencing},
			{what: "back to Active", given: inTransferring, try: `status: {phase: Active}`},
			{what: "no phase", given: inTransferring, try: `status: {phase: null}`},
		},
		passes: []attempt{{what: "Removed", given: inTransferring, try: removed}},
	},
	{
		kind: kindPeer, message: "phase: Removed is final",
		refuses: []attempt{
			{what: "Active", given: inRemoved, try: `status: {phase: Active}`},
			{what: "Transferring", given: inRemoved, try: `status: {phase: Transferring}`},
			{what: "no phase", given: inRemoved, try: `status: {phase: null}`},
		},
		passes: []attempt{{what: "a report", given: inRemoved, try: `status: {agent: {fenced: {generation: 2}}}`}},
	},
	{
		kind: kindPeer, message: "phase: Removed follows Transferring",
		refuses: []attempt{{what: "from Fencing", given: inFencing, try: `status: {phase: Removed, removal: {evidence: Asserted}}`}},
		passes:  []attempt{{what: "from Transferring", given: inTransferring, try: removed}},
	},
	{
		kind: kindPeer, message: "no transfer without evidence",
		refuses: []attempt{{what: "none", given: inFencing, try: `status: {phase: Transferring}`}, {what: "an heir alone", given: inFencing, try: `status: {phase: Transferring, removal: {heir: {name: host1, uid: uid-1}}}`}},
		passes:  []attempt{{what: "evidence", given: inFencing, try: `status: {phase: Transferring, removal: {evidence: AgentAcknowledged}}`}},
	},
	{
		kind: kindPeer, message: "evidence and heir are fixed from Transferring on",
		refuses: []attempt{
			{what: "other evidence", given: inTransferring, try: `status: {removal: {evidence: Asserted}}`},
			{what: "another heir", given: inTransferring, try: `status: {removal: {heir: {name: host2, uid: uid-2}}}`},
			{what: "the heir's namesake", given: inTransferring, try: `status: {removal: {heir: {name: host1, uid: uid-9}}}`},
			{what: "no heir", given: inTransferring, try: `status: {removal: {heir: null}}`},
			{what: "an heir afterwards", given: []string{noHeir, fencing, `status: {phase: Transferring, removal: {evidence: LeaseExpired}}`}, try: `status: {removal: {heir: {name: host1, uid: uid-1}}}`},
			{what: "another heir with Removed", given: inTransferring, try: `status: {phase: Removed, removal: {heir: {name: host2, uid: uid-2}}}`},
		},
		passes: []attempt{{what: "counts", given: inTransferring, try: `status: {phase: Removed, removal: {ranges: 2, addresses: 524288}}`}},
	},
	{
		kind: kindPeer, message: "underlay: no address is accepted from Fencing on",
		refuses: []attempt{
			{what: "another", given: []string{`status: {underlay: [192.0.2.3]}`, declared, fencing}, try: `status: {underlay: [192.0.2.4]}`},
			{what: "one more in Transferring", given: []string{`status: {underlay: [192.0.2.3]}`, declared, fencing, transferring}, try: `status: {underlay: [192.0.2.3, 192.0.2.4]}`},
			{what: "a first", given: inFencing, try: `status: {underlay: [192.0.2.3]}`},
		},
		passes: []attempt{
			{what: "before", try: `status: {underlay: [192.0.2.3]}`},
			{what: "together with Fencing", given: []string{declared}, try: `status: {phase: Fencing, underlay: [192.0.2.3]}`},
			{what: "taking one away", given: []string{`status: {underlay: [192.0.2.3]}`, declared, fencing}, try: `status: {underlay: []}`},
			{what: "after a cancel", given: []string{declared, fencing, cancelled}, try: `status: {phase: Active, underlay: [192.0.2.4]}`},
		},
	},
}
