// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

const (
	rangeLimit = "a range holds at most 2^24 addresses (IPv4 /8, IPv6 /104)"
	tooLarge   = "a range cannot be larger than its pool"
	tooLong    = "longer than an address of this family"
)

var poolRules = []rule{
	{
		kind: kindPool, at: ".spec", message: "cidr is immutable: make another pool",
		refuses: []attempt{{what: "another cidr", try: `spec: {cidr: 10.48.0.0/12}`}, {what: "a larger cidr", try: `spec: {cidr: 10.0.0.0/8}`}},
		passes:  []attempt{{what: "the same cidr again", try: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 14}`}},
	},
	{
		kind: kindPool, at: ".spec", message: "rangePrefixLength: " + tooLarge,
		refuses: []attempt{
			{what: "/11 of a /12", object: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 11}`},
			{what: "/104 of a /112", object: `spec: {cidr: "fd00:10::/112", rangePrefixLength: 104}`},
		},
		passes: []attempt{
			{what: "/12 of a /12", object: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 12}`},
			{what: "/112 of a /112", object: `spec: {cidr: "fd00:10::/112", rangePrefixLength: 112}`},
		},
	},
	{
		kind: kindPool, at: ".spec", message: "rangePrefixLength: " + tooLong,
		refuses: []attempt{{what: "/33 for IPv4", object: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 33}`}},
		passes: []attempt{
			{what: "/32 for IPv4", object: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 32}`},
			{what: "/128 for IPv6", object: `spec: {cidr: "fd00:10::/64", rangePrefixLength: 128}`},
		},
	},
	{
		kind: kindPool, at: ".spec", message: "rangePrefixLength: " + rangeLimit,
		refuses: []attempt{
			{what: "/7 for IPv4", object: `spec: {cidr: 10.0.0.0/7, rangePrefixLength: 7}`},
			{what: "/103 for IPv6", object: `spec: {cidr: "fd00:10::/64", rangePrefixLength: 103}`},
		},
		passes: []attempt{
			{what: "/8 for IPv4", object: `spec: {cidr: 10.0.0.0/7, rangePrefixLength: 8}`},
			{what: "/104 for IPv6", object: `spec: {cidr: "fd00:10::/64", rangePrefixLength: 104}`},
		},
	},
	{
		kind: kindPool, at: ".spec", message: "maxRangePrefixLength: " + tooLarge,
		refuses: []attempt{{what: "/11 of a /12", object: `spec: {cidr: 10.32.0.0/12, maxRangePrefixLength: 11}`}},
		passes:  []attempt{{what: "/12 of a /12", object: `spec: {cidr: 10.32.0.0/12, maxRangePrefixLength: 12}`}},
	},
	{
		kind: kindPool, at: ".spec", message: "maxRangePrefixLength: " + tooLong,
		refuses: []attempt{{what: "/33 for IPv4", object: `spec: {cidr: 10.32.0.0/12, maxRangePrefixLength: 33}`}},
		passes:  []attempt{{what: "/32 for IPv4", object: `spec: {cidr: 10.32.0.0/12, maxRangePrefixLength: 32}`}},
	},
	{
		kind: kindPool, at: ".spec", message: "maxRangePrefixLength names the largest range: it is a number no higher than rangePrefixLength",
		refuses: []attempt{{what: "26 with a first range of 24", object: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 24, maxRangePrefixLength: 26}`}},
		passes: []attempt{
			{what: "20 with a first range of 24", object: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 24, maxRangePrefixLength: 20}`},
			{what: "both 14, as in the story", object: `spec: {cidr: 10.32.0.0/12, rangePrefixLength: 14, maxRangePrefixLength: 14}`},
		},
	},
	{
		kind: kindPool, at: ".spec", message: "maxRangePrefixLength: " + rangeLimit,
		refuses: []attempt{
			{what: "/7 for IPv4", object: `spec: {cidr: 10.0.0.0/7, maxRangePrefixLength: 7}`},
			{what: "/103 for IPv6", object: `spec: {cidr: "fd00:10::/64", maxRangePrefixLength: 103}`},
		},
		passes: []attempt{
			{what: "/8 for IPv4", object: `spec: {cidr: 10.0.0.0/7, maxRangePrefixLength: 8}`},
			{what: "/104 for IPv6", object: `spec: {cidr: "fd00:10::/64", maxRangePrefixLength: 104}`},
		},
	},
	{
		kind: kindPool, at: ".spec.cidr", message: "not a CIDR, such as 10.32.0.0/12 or fd00:10::/64",
		refuses: []attempt{
			{what: "a word", object: `spec: {cidr: everything}`},
			{what: "an address", object: `spec: {cidr: 10.32.0.0}`},
			{what: "an IPv4 prefix length of 64", object: `spec: {cidr: 10.32.0.0/64}`},
			{what: "an IPv4-mapped IPv6 CIDR", object: `spec: {cidr: "::ffff:10.32.0.0/108"}`},
			{what: "leading zeros", object: `spec: {cidr: 10.032.0.0/12}`},
		},
		passes: []attempt{{what: "IPv4"}, {what: "IPv6", object: `spec: {cidr: "fd00:10::/64"}`}},
	},
	{
		kind: kindPool, at: ".spec.cidr", message: "host bits are set, or not in canonical form",
		refuses: []attempt{
			{what: "host bits", object: `spec: {cidr: 10.33.0.0/12}`},
			{what: "zeros written out", object: `spec: {cidr: "fd00:0010::/64"}`},
			{what: "capitals", object: `spec: {cidr: "FD00:10::/64"}`},
		},
		passes: []attempt{{what: "the first address", object: `spec: {cidr: 10.32.0.0/12}`}},
	},
	{
		kind: kindPool, at: ".spec.cidr", message: "not addresses for pods: unspecified, loopback, link-local or multicast",
		refuses: []attempt{
			{what: "everything", object: `spec: {cidr: 0.0.0.0/0}`},
			{what: "loopback", object: `spec: {cidr: 127.0.0.0/8}`},
			{what: "IPv4 link-local", object: `spec: {cidr: 169.254.0.0/16}`},
			{what: "IPv6 link-local", object: `spec: {cidr: "fe80::/64"}`},
			{what: "multicast", object: `spec: {cidr: 224.0.0.0/8}`},
		},
		passes: []attempt{{what: "shared address space", object: `spec: {cidr: 100.64.0.0/10}`}},
	},
	{
		kind: kindPool, at: ".spec.nodeSelector", message: "matchExpressions: operator is In or NotIn with values, or Exists or DoesNotExist without",
		refuses: []attempt{
			{what: "an unknown operator", object: `spec: {cidr: 10.32.0.0/12, nodeSelector: {matchExpressions: [{key: zone, operator: Near}]}}`},
			{what: "In without values", object: `spec: {cidr: 10.32.0.0/12, nodeSelector: {matchExpressions: [{key: zone, operator: In}]}}`},
			{what: "Exists with values", object: `spec: {cidr: 10.32.0.0/12, nodeSelector: {matchExpressions: [{key: zone, operator: Exists, values: [a]}]}}`},
		},
		passes: []attempt{
			{what: "labels", object: `spec: {cidr: 10.32.0.0/12, nodeSelector: {matchLabels: {zone: a}}}`},
			{what: "NotIn and Exists", object: `spec: {cidr: 10.32.0.0/12, nodeSelector: {matchExpressions: [{key: zone, operator: NotIn, values: [a]}, {key: disk, operator: Exists}]}}`},
		},
	},
}

var removalRules = []rule{
	{
		kind: kindRemoval, message: "a peer cannot be its own heir: name another peer, or leave heir out and the ranges go back to their pool",
		refuses: []attempt{{what: "host3 as host3's heir", object: `spec: {heir: host3}`}},
		passes:  []attempt{{what: "another heir"}, {what: "no heir", object: `spec: {}`}, {what: "no spec", object: `{}`}},
	},
	{
		kind: kindRemoval, message: "heir is immutable: delete the removal (cancel) before declaring another",
		says: "spec.heir: Forbidden: this removal was declared with",
		refuses: []attempt{
			{what: "another heir", try: `spec: {heir: host2}`},
			{what: "taking the heir away", try: `spec: {heir: null}`},
			{what: "taking the spec away", try: `spec: null`},
		},
		passes: []attempt{{what: "the same heir", try: `spec: {heir: host1, assertDown: true}`}},
	},
	{
		kind: kindRemoval, message: "assertDown can be added, not taken back: delete the removal (cancel) instead",
		refuses: []attempt{
			{what: "false after true", object: `spec: {assertDown: true}`, try: `spec: {assertDown: false}`},
			{what: "nothing after true", object: `spec: {assertDown: true}`, try: `spec: {assertDown: null}`},
		},
		passes: []attempt{{what: "true after nothing", object: `spec: {}`, try: `spec: {assertDown: true}`}},
	},
	{
		kind: kindRemoval, message: "instanceID is immutable: delete the removal before binding it to another instance",
		refuses: []attempt{
			{what: "another instance", object: `spec: {instanceID: instance-3}`, try: `spec: {instanceID: instance-4}`},
			{what: "binding it afterwards", object: `spec: {}`, try: `spec: {instanceID: instance-3}`},
			{what: "unbinding it", object: `spec: {instanceID: instance-3}`, try: `spec: {instanceID: null}`},
		},
		passes: []attempt{{what: "the same instance", object: `spec: {instanceID: instance-3}`, try: `spec: {instanceID: instance-3, assertDown: true}`}},
	},
}
