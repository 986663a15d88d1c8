// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// healthy are the facts of a node where nothing is wrong.
func healthy() *Facts {
	peer, peer6 := netip.MustParseAddr("192.168.77.12"), netip.MustParseAddr("fd77::12")
	return &Facts{
		Node: "host1", Version: "v1", Options: Options{Encapsulation: "vxlan", Device: "selvage0", Port: 4789, VNI: 21365},
		Unread:  map[Part]string{},
		Agent:   AgentState{Answers: true, Row: "Resume"},
		Sysctls: map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/eth0/rp_filter": "1", "ipv4/conf/eth1/rp_filter": "2"},
		Links:   []Link{{Name: "eth0", Up: true, MTU: 1500}, {Name: "selvage0", Up: true, MTU: 1450, VXLAN: true, Port: 4789, VNI: 21365}},
		Routes: []Route{
			{To: netip.MustParsePrefix("0.0.0.0/0"), Device: "eth0"},
			{To: netip.MustParsePrefix("192.168.77.0/24"), Device: "eth0"},
			{To: netip.MustParsePrefix("10.0.0.0/8"), Device: "eth0"},
			{To: netip.MustParsePrefix("10.32.0.0/24"), Ours: true, Blackhole: true, Metric: 1 << 24},
			{To: netip.MustParsePrefix("10.32.1.0/24"), Device: "selvage0", Ours: true},
			{To: netip.MustParsePrefix("fd10::/120"), Device: "selvage0", Ours: true},
			{To: netip.MustParsePrefix("fd10::1/128"), Device: "selvage0"},
		},
		Underlay:    []Path{{Peer: peer, Out: "eth0", In: "eth0", MTU: 1500}, {Peer: peer6, Out: "eth0", In: "eth0", MTU: 1520}},
		Attachments: []Attachment{{Interface: "sva", Sandbox: "s1", Pod: "default/a", MTU: 1450}, {Interface: "svb", Sandbox: "gone", MTU: 9000, Dying: true}},
		Sandboxes:   map[string]bool{"s1": true},
		CNI:         Folder{Path: "/etc/cni/net.d", Bin: "/opt/cni/bin", Plugin: true, Files: []Configuration{{Name: "10-selvage.conflist", Network: "selvage", Plugins: []string{"selvage", "portmap"}}}},
		Clock:       Rate{PartsPerMillion: -12.5, Source: "tsc"},
		Conntrack:   Table{Count: 10, Max: 1000},
		Reach:       []Probe{{Peer: peer, Overlay: true, Underlay: true}},
	}
}

func TestHealthy(t *testing.T) {
	r := Judge(healthy())
	if len(r.Findings) != 0 {
		t.Errorf("found %+v", r.Findings)
	}
	for _, result := range r.Results {
		if result.Verdict != OK {
			t.Errorf("%+v", result)
		}
	}
	if *r.Traits != (Traits{"vxlan", 4789, 21365, 1450}) {
		t.Errorf("traits %+v", *r.Traits)
	}
}

// Whatever is wrong is found, by the check that is meant to, and nothing else is.
func TestFindings(t *testing.T) {
	link := func(f *Facts, i int) *Link { return &f.Links[i] }
	for name, c := range map[string]struct {
		harm     func(*Facts)
		check    string
		severity Severity
		says     string
	}{
		"no agent":         {func(f *Facts) { f.Agent = AgentState{Why: "connection refused"} }, "agent", Error, "connection refused"},
		"agent refuses":    {func(f *Facts) { f.Agent.Refused = "its lease has run out" }, "agent", Error, "its lease has run out"},
		"no nftables":      {func(f *Facts) { f.NoFilter = "this kernel has no nftables" }, "kernel", Error, "no nftables"},
		"no masquerade":    {func(f *Facts) { f.Lacking = []string{"nftables masquerade"} }, "kernel", Warning, "masquerade"},
		"no forwarding":    {func(f *Facts) { f.Sysctls["ipv4/ip_forward"] = "0" }, "forwarding", Error, "net.ipv4.ip_forward"},
		"no forwarding 6":  {func(f *Facts) { f.Sysctls["ipv6/conf/all/forwarding"] = "0" }, "forwarding", Error, "net.ipv6.conf.all.forwarding"},
		"device down":      {func(f *Facts) { link(f, 1).Up = false }, "tunnel-device", Error, "it is down"},
		"no device":        {func(f *Facts) { f.Links = f.Links[:1] }, "tunnel-device", Error, "no such device"},
		"other port":       {func(f *Facts) { link(f, 1).Port = 8472 }, "tunnel-device", Error, "port 8472"},
		"other identifier": {func(f *Facts) { link(f, 1).VNI = 1 }, "tunnel-device", Error, "identifier 1"},
		"port taken":       {func(f *Facts) { f.PortTaken = true }, "tunnel-device", Error, "a program has UDP port 4789"},
		"small underlay":   {func(f *Facts) { f.Underlay[0].MTU = 1499 }, "mtu", Error, "its MTU towards 192.168.77.12 is 1499"},
		"small underlay 6": {func(f *Facts) { f.Underlay[1].MTU = 1519 }, "mtu", Error, "towards fd77::12 is 1519"},
		"large pod":        {func(f *Facts) { f.Attachments[0].MTU = 1451 }, "mtu", Warning, "default/a"},
		"route inside":     {func(f *Facts) { f.Routes[1].To = netip.MustParsePrefix("10.32.1.128/25") }, "routes", Error, "10.32.1.128/25"},
		"route equal":      {func(f *Facts) { f.Routes[1].To = netip.MustParsePrefix("10.32.0.0/24") }, "routes", Error, "10.32.0.0/24"},
		"crooked":          {func(f *Facts) { f.Underlay[0].Out = "eth1" }, "rp-filter", Error, "come in by eth0, answers go out by eth1"},
		"no conflist":      {func(f *Facts) { f.CNI.Files = nil }, "cni", Error, "no CNI configuration names"},
		"other first": {func(f *Facts) {
			f.CNI.Files = slices.Insert(f.CNI.Files, 0, Configuration{Name: "05-cilium.conflist", Network: "cilium", Plugins: []string{"cilium-cni"}})
		}, "cni", Error, "cilium"},
		"other behind": {func(f *Facts) {
			f.CNI.Files = append(f.CNI.Files, Configuration{Name: "99-loopback.conf", Network: "lo", Plugins: []string{"loopback"}})
		}, "cni", Warning, "another network, \"lo\""},
		"broken conflist": {func(f *Facts) {
			f.CNI.Files = slices.Insert(f.CNI.Files, 1, Configuration{Name: "20-x.conf", Broken: "unexpected end"})
		}, "cni", Warning, "unexpected end"},
		"no plugin":       {func(f *Facts) { f.CNI.Plugin = false }, "cni", Error, "the plugin is not there"},
		"stale sandbox":   {func(f *Facts) { f.Sandboxes = map[string]bool{} }, "sandboxes", Warning, "sandbox s1"},
		"fast clock":      {func(f *Facts) { f.Clock.PartsPerMillion = 1001 }, "clock", Error, "1001 parts"},
		"slow clock":      {func(f *Facts) { f.Clock.PartsPerMillion = -50000 }, "clock", Error, "-50000 parts"},
		"bad source":      {func(f *Facts) { f.Clock.Source = "jiffies" }, "clock", Warning, "jiffies"},
		"full conntrack":  {func(f *Facts) { f.Conntrack.Count = 900 }, "conntrack", Warning, "900 of at most 1000"},
		"blocked tunnels": {func(f *Facts) { f.Reach[0].Overlay = false }, "overlay", Error, "answer outside the network and not through it: 192.168.77.12"},
		"peer away":       {func(f *Facts) { f.Reach[0].Overlay, f.Reach[0].Underlay = false, false }, "overlay", Warning, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			c.harm(f)
			r := Judge(f)
			for _, found := range r.Findings {
				if found.Check != c.check {
					t.Errorf("found, too: %+v", found)
				}
				if found.Remedy == "" || found.Object == "" {
					t.Errorf("nothing to do, or to nothing: %+v", found)
				}
			}
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == c.severity && strings.Contains(f.Message, c.says) }) {
				t.Errorf("want %s %q, got %+v", c.severity, c.says, r.Findings)
			}
			if r.Worst(Error) != (c.severity == Error) {
				t.Errorf("worst is an error: %v", r.Worst(Error))
			}
		})
	}
}

// What is close to a limit, or no harm, is not found.
func TestHarmless(t *testing.T) {
	for name, change := range map[string]func(*Facts){
		"a higher metric":        func(f *Facts) { f.Routes[1].To, f.Routes[1].Metric = netip.MustParsePrefix("10.32.1.0/24"), 100 },
		"a loose filter":         func(f *Facts) { f.Underlay[0].Out, f.Sysctls["ipv4/conf/all/rp_filter"] = "eth1", "2" },
		"direct, without device": func(f *Facts) { f.Options.Encapsulation, f.Links = "direct", f.Links[:1] },
		"IPv4 alone": func(f *Facts) {
			f.Routes, f.Sysctls["ipv6/conf/all/forwarding"] = f.Routes[:5], "0"
		},
		"nobody to ask": func(f *Facts) { f.Reach = nil },
	} {
		f := healthy()
		change(f)
		if r := Judge(f); len(r.Findings) > 0 {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
}

// What could not be seen is neither well nor wrong.
func TestNotChecked(t *testing.T) {
	for _, c := range checks {
		for _, p := range c.needs {
			f := healthy()
			f.Unread[p] = "no right to see it"
			for _, result := range Judge(f).Results {
				if result.Check == c.name && (result.Verdict != NotChecked || result.Looked != "no right to see it") {
					t.Errorf("%s without %s: %+v", c.name, p, result)
				}
			}
		}
	}
}
