// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
)

// The names of the table's sets: each in a form for either family.
const (
	tableName = "selvage"
	peersSet  = "peers"
	poolsSet  = "pools"
	directSet = "direct"
)

// The chains, each named after what it does.
const (
	chainSource  = "source"      // prerouting, raw: who may send what from where
	chainReceive = "receive"     // input, raw: which tunnels are heard
	chainOutput  = "untracked"   // output, raw: tunnels need no tracking
	chainRelay   = "relay"       // forward: no tunnel leads into another
	chainLeave   = "masquerade"  // postrouting, nat
	rulesFormat  = "1"           // rises when expressions change and texts do not
	ruleComment  = "net.selvage" // begins the comment of every rule
)

// rule is a rule, as text in nft's language and as parts that make up its
// expressions. The text is kept in the kernel as the rule's comment: it is what
// people read, and how a table is known to be this one.
type rule struct {
	chain string
	parts []part
}

// part is a match, statement or verdict: its text, and how it is built (see
// filter_linux.go).
type part struct {
	text string
	kind partKind
	name string // an interface's or set's name
	six  bool
	not  bool
	num  int
}

type partKind int

const (
	partFamily      partKind = iota // the packet is of a family
	partInPrefix                    // the incoming interface's name begins with
	partIn                          // the incoming interface is
	partOut                         // the outgoing interface is
	partNotSentOn                   // its destination is as it came: no Service sends it on
	partNoWayBack                   // the source is not routed to the incoming interface
	partTunnelPort                  // UDP to the tunnels' port
	partNetwork                     // of our VXLAN network
	partSource                      // the source is in a set
	partDestination                 // the destination is in a set
	partCard                        // source and hardware source are in a set
	partMulticast                   // the destination is a group
	partCount
	partNotrack
	partAccept
	partDrop
	partMasquerade
)

func (r rule) text() string {
	texts := make([]string, len(r.parts))
	for i, p := range r.parts {
		texts[i] = p.text
	}
	return strings.Join(texts, " ")
}

func sized(set string, six bool) string {
	if six {
		return set + "6"
	}
	return set + "4"
}

// ip is how nft names a family's header.
func ip(six bool) string {
	if six {
		return "ip6"
	}
	return "ip"
}

var (
	count  = part{kind: partCount, text: "counter"}
	accept = part{kind: partAccept, text: "accept"}
	drop   = part{kind: partDrop, text: "drop"}
)

func inPrefix(prefix string) part {
	return part{kind: partInPrefix, name: prefix, text: "iifname " + prefix + "*"}
}

func in(name string) part {
	return part{kind: partIn, name: name, text: "iifname " + name}
}

func out(name string) part {
	return part{kind: partOut, name: name, text: "oifname " + name}
}

func ofFamily(six bool) part {
	return part{kind: partFamily, six: six, text: "meta nfproto " + map[bool]string{false: "ipv4", true: "ipv6"}[six]}
}

func source(set string, six bool) part {
	return part{kind: partSource, name: sized(set, six), six: six, text: fmt.Sprintf("%s saddr @%s", ip(six), sized(set, six))}
}

func destination(set string, six, not bool) part {
	text := fmt.Sprintf("%s daddr %s@%s", ip(six), map[bool]string{true: "!= "}[not], sized(set, six))
	return part{kind: partDestination, name: sized(set, six), six: six, not: not, text: text}
}

func tunnelPort(port int) part {
	return part{kind: partTunnelPort, num: port, text: fmt.Sprintf("udp dport %d", port)}
}

// rules are all rules, in order.
func (o Options) rules() []rule {
	noWayBack := part{kind: partNoWayBack, text: "fib saddr . iif oif missing"}
	rules := []rule{
		// A pod sends from its own addresses, and while it has them.
		{chainSource, []part{inPrefix(o.Prefix), noWayBack, count, drop}},
		{chainSource, []part{inPrefix(o.Prefix), accept}},
		// What has come out of a tunnel was let in by the receive chain.
		{chainSource, []part{in(o.Device), accept}},
		{chainSource, []part{in("lo"), accept}},
	}
	for _, six := range []bool{false, true} {
		rules = append(rules, o.familyRules(six)...)
	}
	// Tunnels lead from owner to owner. A peer whose agent is dead may still hear
	// one that all others have cut off: what it hears it must not pass on, as
	// if it were its own. What it was asked for itself, as a Service's node, it
	// may.
	relay := []part{in(o.Device), out(o.Device)}
	if !o.lacks.notrack {
		relay = append(relay, part{kind: partNotSentOn, text: "ct status & dnat == 0"})
	}
	rules = append(rules, rule{chainRelay, append(relay, count, drop)})
	network := part{kind: partNetwork, num: o.VNI, text: fmt.Sprintf("@th,96,24 %d", o.VNI)}
	return append(rules, rule{chainReceive, []part{tunnelPort(o.Port), network, count, drop}})
}

func (o Options) familyRules(six bool) []rule {
	notrack := part{kind: partNotrack, text: "notrack"}
	groups := part{kind: partMulticast, six: six, text: ip(six) + " daddr != " + map[bool]string{false: "224.0.0.0/4", true: "ff00::/8"}[six]}
	masquerade := part{kind: partMasquerade, text: "masquerade fully-random"}
	var rules []rule
	if !o.lacks.notrack {
		rules = append(rules,
			rule{chainSource, []part{ofFamily(six), tunnelPort(o.Port), source(peersSet, six), notrack, accept}},
			rule{chainOutput, []part{ofFamily(six), tunnelPort(o.Port), destination(peersSet, six, false), notrack}})
	}
	if o.direct() {
		card := part{kind: partCard, name: sized(directSet, six), six: six, text: fmt.Sprintf("%s saddr . ether saddr @%s", ip(six), sized(directSet, six))}
		rules = append(rules, rule{chainSource, []part{ofFamily(six), card, accept}})
	}
	rules = append(rules,
		// From anywhere else a pool's address is a stranger's.
		rule{chainSource, []part{ofFamily(six), source(poolsSet, six), count, drop}},
		rule{chainReceive, []part{ofFamily(six), tunnelPort(o.Port), source(peersSet, six), accept}})
	if !o.lacks.masquerade {
		rules = append(rules, rule{chainLeave, []part{ofFamily(six), source(poolsSet, six), destination(poolsSet, six, true), groups, masquerade}})
	}
	return rules
}

// direct says whether anyone is heard without encapsulation.
func (o Options) direct() bool { return o.Encapsulation != VXLAN && !o.lacks.direct }

// rulesVersion identifies the rules: their texts, by chain, and their format.
func (o Options) rulesVersion() string {
	if known, ok := rulesVersions.Load(o); ok {
		return known.(string)
	}
	byChain := map[string][]string{}
	for _, r := range o.rules() {
		byChain[r.chain] = append(byChain[r.chain], r.text())
	}
	version := versionOf(byChain)
	rulesVersions.Store(o, version)
	return version
}

// rulesVersions remembers them: they are asked for each time that the kernel is
// looked at.
var rulesVersions sync.Map

func versionOf(byChain map[string][]string) string {
	h := sha256.New()
	for _, chain := range []string{chainSource, chainReceive, chainRelay, chainOutput, chainLeave} {
		fmt.Fprintf(h, "%s %q\n", chain, byChain[chain])
	}
	return rulesFormat + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// lacking is what the kernel lacks and the filter does without.
type lacking struct {
	// notrack costs speed, masquerade the way out of the pools, direct the
	// modes that route without encapsulation.
	notrack, masquerade, direct bool
}

func (l lacking) texts() (all []string) {
	if l.notrack {
		all = append(all, "nftables notrack (CONFIG_NFT_CT): tunnels are tracked, and slower; no Service's node sends on what came through one")
	}
	if l.masquerade {
		all = append(all, "nftables masquerade (CONFIG_NFT_MASQ, CONFIG_NF_NAT): pods cannot reach beyond the pools")
	}
	if l.direct {
		all = append(all, "nftables sets of ranges with hardware addresses (kernel 5.6): everything is encapsulated")
	}
	return all
}
