// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diagnosis judges a node: from facts about its kernel, its CNI folder,
// its runtime and its agent to what is wrong and what to do about it. It is
// pure; package node, below it, gathers the facts.
package diagnosis

import "slices"

// Severity is how bad a finding is.
type Severity string

// The severities.
const (
	// Error: pods have no network, or some have not, or will not have.
	Error Severity = "error"
	// Warning: it works, and something about it should not stay so.
	Warning Severity = "warning"
)

// Finding is one thing that is wrong.
type Finding struct {
	// Check is the name of the check that found it.
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// Object is what it is about, such as node/host1 or interface/eth0.
	Object  string `json:"object"`
	Message string `json:"message"`
	// Remedy says what to do.
	Remedy string `json:"remedy"`
}

// Verdict is what became of a check.
type Verdict string

// The verdicts.
const (
	OK         Verdict = "ok"
	Found      Verdict = "found"
	NotChecked Verdict = "not-checked"
)

// Result is one check and its verdict.
type Result struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Looked says what was looked at, or why it could not be.
	Looked string `json:"looked"`
}

// Report is what a doctor says. -o json prints it.
type Report struct {
	// Subject is what was looked at: node/host1, or cluster.
	Subject  string    `json:"subject"`
	Version  string    `json:"version,omitempty"`
	Results  []Result  `json:"results"`
	Findings []Finding `json:"findings"`
	// Traits are compared between nodes.
	Traits *Traits `json:"traits,omitempty"`
}

// Traits are what has to be the same on every node.
type Traits struct {
	Encapsulation string `json:"encapsulation"`
	Port          int    `json:"vxlanPort"`
	VNI           int    `json:"vxlanID"`
	// MTU is the pods'.
	MTU int `json:"mtu,omitempty"`
}

// Worst says whether any finding is that severe.
func (r *Report) Worst(s Severity) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == s })
}

// check is one thing that is looked at.
type check struct {
	name   string
	looked string
	// needs are the parts of Facts without which it cannot be judged.
	needs []Part
	judge func(*Facts) []Finding
}

// checks are all there are, in the order in which they are told: what is
// found first is often the cause of what is found later.
var checks = []check{
	{"agent", "whether the agent answers on its socket, and allocates", []Part{Agent}, agent},
	{"kernel", "whether nftables has what the filters need", []Part{Features}, features},
	{"forwarding", "net.ipv4.ip_forward and net.ipv6.conf.all.forwarding", []Part{Sysctls, Routes}, forwarding},
	{"tunnel-device", "whether the VXLAN device is up, with the agent's port and identifier", []Part{Links, Ports}, device},
	{"mtu", "the MTUs of underlay, tunnel and pods", []Part{Links, Underlay}, mtu},
	{"routes", "routes of others inside the ranges of the network", []Part{Routes}, routes},
	{"rp-filter", "strict reverse-path filters where answers come in elsewhere", []Part{Sysctls, Underlay}, reversePath},
	{"cni", "the CNI configurations that the runtime reads, and the plugin", []Part{CNI}, cni},
	{"sandboxes", "interfaces whose sandbox the container runtime does not know", []Part{Attachments, Sandboxes}, sandboxes},
	{"clock", "how fast the kernel's clock is made to run", []Part{Clock}, clock},
	{"conntrack", "how full the connection tracking table is", []Part{Conntrack}, conntrack},
	{"overlay", "TCP to the peers' own addresses, through the tunnels and beside them", []Part{Reach}, overlay},
}

// Judge looks at everything.
func Judge(f *Facts) Report {
	r := Report{
		Subject: "node/" + f.Node, Version: f.Version, Results: []Result{}, Findings: []Finding{},
		Traits: &Traits{Encapsulation: f.Options.Encapsulation, Port: f.Options.Port, VNI: f.Options.VNI, MTU: f.podMTU()},
	}
	for _, c := range checks {
		result := Result{Check: c.name, Verdict: OK, Looked: c.looked}
		if i := slices.IndexFunc(c.needs, f.lacks); i >= 0 {
			result.Verdict, result.Looked = NotChecked, f.Unread[c.needs[i]]
			r.Results = append(r.Results, result)
			continue
		}
		for _, found := range c.judge(f) {
			found.Check = c.name
			if found.Object == "" {
				found.Object = r.Subject
			}
			result.Verdict = Found
			r.Findings = append(r.Findings, found)
		}
		r.Results = append(r.Results, result)
	}
	return r
}
