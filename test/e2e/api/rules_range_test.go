// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

// Steps in the life of the range 10.40.0.0/13.
const (
	granted  = `spec: {owner: {name: host3, uid: uid-3}, epoch: 1}`
	moved    = `spec: {owner: {name: host1, uid: uid-1}, epoch: 2, previousOwner: {name: host3, uid: uid-3}}`
	disowned = `spec: {owner: null, epoch: 2, previousOwner: {name: host3, uid: uid-3}}`
	observed = `status: {observedEpoch: 1}`
	sealed14 = `status: {sealed: {epoch: 1, keep: 10.40.0.0/14}}`
)

const firstAddress = "a range is named by its first address: 10.40.0.0, or IPv6 in full with dashes: fd00-0010-0000-0000-0000-0000-0000-0000"

var rangeRules = []rule{
	{
		kind: kindRange, message: firstAddress,
		refuses: []attempt{
			{what: "another name", name: "range-1"},
			{what: "another address of it", name: "10.41.0.0"},
			{what: "an IPv6 name for IPv4", name: "fd00-0010-0000-0000-0000-0000-0000-0000"},
			{what: "IPv6 not in full", name: "fd00-10-0-0-0-0-0-0", object: `spec: {pool: default, cidr: "fd00:10::/120", epoch: 0}`},
			{what: "another IPv6 address", name: "fd00-0010-0000-0000-0000-0000-0000-0100", object: `spec: {pool: default, cidr: "fd00:10::/120", epoch: 0}`},
		},
		passes: []attempt{
			{what: "IPv4"},
			{what: "IPv6 in full", name: "fd00-0010-0000-0000-0000-0000-0000-0100", object: `spec: {pool: default, cidr: "fd00:10::100/120", epoch: 0}`},
		},
	},
	{
		kind: kindRange, at: ".spec", message: "pool is immutable",
		refuses: []attempt{{what: "another pool", try: `spec: {pool: other}`}},
		passes:  []attempt{{what: "the same pool", try: `spec: {pool: default}`}},
	},
	{
		kind: kindRange, at: ".spec", message: "cidr may only shrink, and keeps its first address",
		refuses: []attempt{
			{what: "growing", try: `spec: {cidr: 10.40.0.0/12}`},
			{what: "moving", try: `spec: {cidr: 10.44.0.0/14}`},
			{what: "another family", try: `spec: {cidr: "fd00:10::/120"}`},
		},
		passes: []attempt{{what: "its lower half", try: `spec: {cidr: 10.40.0.0/14}`}},
	},
	{
		kind: kindRange, at: ".spec", message: "epoch rises by exactly one when the owner changes, and only then",
		refuses: []attempt{
			{what: "a grant without", try: `spec: {owner: {name: host3, uid: uid-3}}`},
			{what: "a grant by two", try: `spec: {owner: {name: host3, uid: uid-3}, epoch: 2}`},
			{what: "a rise without a change", given: []string{granted}, try: `spec: {epoch: 2}`},
			{what: "a fall", given: []string{granted}, try: `spec: {epoch: 0}`},
			{what: "a move without", given: []string{granted}, try: `spec: {owner: {name: host1, uid: uid-1}, previousOwner: {name: host3, uid: uid-3}}`},
			{what: "a namesake's taking over without", given: []string{granted}, try: `spec: {owner: {name: host3, uid: uid-4}, previousOwner: {name: host3, uid: uid-3}}`},
			{what: "a negative one", object: `spec: {pool: default, cidr: 10.40.0.0/13, epoch: 0}`, try: `spec: {epoch: 1}`},
		},
		passes: []attempt{
			{what: "a grant", try: granted},
			{what: "a move", given: []string{granted}, try: moved},
			{what: "taking the owner away", given: []string{granted}, try: disowned},
			{what: "a change of something else", given: []string{granted}, try: `spec: {keep: ""}`},
		},
	},
	{
		kind: kindRange, at: ".spec", message: "previousOwner is the owner just replaced, and otherwise may only be cleared",
		refuses: []attempt{
			{what: "a move that says nothing", given: []string{granted}, try: `spec: {owner: {name: host1, uid: uid-1}, epoch: 2}`},
			{what: "a move that says another", given: []string{granted}, try: `spec: {owner: {name: host1, uid: uid-1}, epoch: 2, previousOwner: {name: host2, uid: uid-2}}`},
			{what: "a first grant that says one", try: `spec: {owner: {name: host3, uid: uid-3}, epoch: 1, previousOwner: {name: host2, uid: uid-2}}`},
			{what: "one out of nowhere", given: []string{granted}, try: `spec: {previousOwner: {name: host2, uid: uid-2}}`},
			{what: "rewriting it", given: []string{granted, moved}, try: `spec: {previousOwner: {name: host2, uid: uid-2}}`},
			{what: "losing it when an owner-less range is granted", given: []string{granted, disowned}, try: `spec: {owner: {name: host1, uid: uid-1}, epoch: 3, previousOwner: null}`},
		},
		passes: []attempt{
			{what: "the owner just replaced", given: []string{granted}, try: moved},
			{what: "clearing it", given: []string{granted, moved}, try: `spec: {previousOwner: null}`},
			{what: "granting an owner-less range", given: []string{granted, disowned}, try: `spec: {owner: {name: host1, uid: uid-1}, epoch: 3}`},
		},
	},
	{
		kind: kindRange, at: ".spec", message: "one write changes the owner or the cidr, never both",
		refuses: []attempt{{what: "both", try: `spec: {owner: {name: host3, uid: uid-3}, epoch: 1, cidr: 10.40.0.0/14}`}},
		passes: []attempt{
			{what: "the owner", try: granted},
			{what: "the cidr", given: []string{granted, sealed14}, try: `spec: {cidr: 10.40.0.0/14}`},
		},
	},
	{
		kind: kindRange, at: ".spec", message: "a range begins as a claim: no owner, epoch 0",
		refuses: []attempt{
			{what: "an owner", object: `spec: {pool: default, cidr: 10.40.0.0/13, epoch: 1, owner: {name: host3, uid: uid-3}}`},
			{what: "an epoch", object: `spec: {pool: default, cidr: 10.40.0.0/13, epoch: 1}`},
			{what: "a previous owner", object: `spec: {pool: default, cidr: 10.40.0.0/13, epoch: 0, previousOwner: {name: host3, uid: uid-3}}`},
			{what: "reservations", object: `spec: {pool: default, cidr: 10.40.0.0/13, epoch: 0, reserved: [{address: 10.40.0.1, podUID: p}]}`},
			{what: "keep", object: `spec: {pool: default, cidr: 10.40.0.0/13, epoch: 0, keep: ""}`},
		},
		passes: []attempt{{what: "a claim"}},
	},
	{
		kind: kindRange, at: ".spec", message: "reserved: every entry is an address of this range",
		refuses: []attempt{
			{what: "another range's", given: []string{granted}, try: `spec: {reserved: [{address: 10.40.0.1, podUID: p}, {address: 10.48.0.1, podUID: p}]}`},
			{what: "no address", given: []string{granted}, try: `spec: {reserved: [{address: here, podUID: p}]}`},
			{
				what: "one that shrinking would lose", given: []string{granted, sealed14, `spec: {reserved: [{address: 10.44.0.1, podUID: p}]}`},
				try: `spec: {cidr: 10.40.0.0/14}`,
			},
		},
		passes: []attempt{
			{what: "its first and last", given: []string{granted}, try: `spec: {reserved: [{address: 10.40.0.0, podUID: p}, {address: 10.47.255.255, podUID: q}]}`},
			{what: "letting one go", given: []string{granted, `spec: {reserved: [{address: 10.40.0.1, podUID: p}]}`}, try: `spec: {reserved: null}`},
		},
	},
	{
		kind: kindRange, at: ".spec", message: "a range holds at most 2^24 addresses",
		refuses: []attempt{
			{what: "/7", name: "10.0.0.0", object: `spec: {pool: default, cidr: 10.0.0.0/7, epoch: 0}`},
			{what: "IPv6 /103", name: "fd00-0010-0000-0000-0000-0000-0000-0000", object: `spec: {pool: default, cidr: "fd00:10::/103", epoch: 0}`},
		},
		passes: []attempt{
			{what: "/8", name: "10.0.0.0", object: `spec: {pool: default, cidr: 10.0.0.0/8, epoch: 0}`},
			{what: "IPv6 /104", name: "fd00-0010-0000-0000-0000-0000-0000-0000", object: `spec: {pool: default, cidr: "fd00:10::/104", epoch: 0}`},
		},
	},
	{
		kind: kindRange, at: ".spec", message: "keep is a CIDR that starts where the range starts, or empty to ask for all of it",
		refuses: []attempt{
			{what: "the upper half", given: []string{granted}, try: `spec: {keep: 10.44.0.0/14}`},
			{what: "more than the range", given: []string{granted}, try: `spec: {keep: 10.40.0.0/12}`},
			{what: "a word", given: []string{granted}, try: `spec: {keep: nothing}`},
		},
		passes: []attempt{
			{what: "the lower half", given: []string{granted}, try: `spec: {keep: 10.40.0.0/14}`},
			{what: "nothing", given: []string{granted}, try: `spec: {keep: ""}`},
		},
	},
	{
		kind: kindRange, at: ".spec.cidr", message: "not a CIDR in canonical form without host bits",
		refuses: []attempt{
			{what: "host bits", object: `spec: {pool: default, cidr: 10.40.0.1/13, epoch: 0}`},
			{what: "a word", object: `spec: {pool: default, cidr: here, epoch: 0}`},
			{what: "zeros written out", name: "fd00-0010-0000-0000-0000-0000-0000-0000", object: `spec: {pool: default, cidr: "fd00:0010::/120", epoch: 0}`},
		},
		passes: []attempt{{what: "canonical form"}},
	},
}

var rangeSealRules = []rule{
	{
		kind: kindRange, message: "an owned range shrinks only to what its owner has sealed in this epoch",
		refuses: []attempt{
			{what: "no seal", given: []string{granted}, try: `spec: {cidr: 10.40.0.0/14}`},
			{what: "less than is kept", given: []string{granted, sealed14}, try: `spec: {cidr: 10.40.0.0/15}`},
			{what: "a former owner's seal", given: []string{granted, sealed14, moved}, try: `spec: {cidr: 10.40.0.0/14}`},
		},
		passes: []attempt{
			{what: "exactly what is sealed", given: []string{granted, sealed14}, try: `spec: {cidr: 10.40.0.0/14}`},
			{what: "when all of it is given back", given: []string{granted, `status: {sealed: {epoch: 1}}`}, try: `spec: {cidr: 10.40.0.0/16}`},
			{what: "a claim", try: `spec: {cidr: 10.40.0.0/14}`},
		},
	},
	{
		kind: kindRange, at: ".status", message: "a seal is undone only by a new epoch",
		refuses: []attempt{
			{what: "taking it back", given: []string{granted, observed, sealed14}, try: `status: {sealed: null}`},
			{what: "keeping more after all", given: []string{granted, observed, sealed14}, try: `status: {sealed: {keep: 10.40.0.0/13}}`},
			{what: "an older epoch's", given: []string{granted, observed, sealed14}, try: `status: {sealed: {epoch: 0}}`},
		},
		passes: []attempt{
			{what: "keeping less", given: []string{granted, observed, sealed14}, try: `status: {sealed: {keep: 10.40.0.0/15}}`},
			{what: "the next owner's clearing it", given: []string{granted, observed, sealed14, moved}, try: `status: {observedEpoch: 2, sealed: null}`},
			{what: "another report", given: []string{granted, observed, sealed14}, try: `status: {used: 7}`},
		},
	},
	{
		kind: kindRange, at: ".status.sealed.keep", message: "keep is a CIDR, or empty to give all of it back",
		refuses: []attempt{{what: "a word", given: []string{granted}, try: `status: {sealed: {epoch: 1, keep: half}}`}},
		passes: []attempt{
			{what: "a CIDR", given: []string{granted}, try: sealed14},
			{what: "nothing", given: []string{granted}, try: `status: {sealed: {epoch: 1, keep: ""}}`},
		},
	},
}
