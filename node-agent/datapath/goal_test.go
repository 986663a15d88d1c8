// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"strings"
	"testing"
)

// TestGoalErrors: what is wrong with one peer is said, and keeps no other back.
func TestGoalErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		opts  Options
		spoil func(*Desired)
		want  string
	}{
		"no hardware address":    {Options{}, func(d *Desired) { d.Remotes[1].VTEP = "" }, "has not reported yet"},
		"one hardware address":   {Options{}, func(d *Desired) { d.Remotes[1].VTEP = d.Remotes[0].VTEP }, "and so has host2"},
		"ours":                   {Options{}, func(d *Desired) { d.Remotes[1].VTEP = "5a:5e:c0:a8:4d:01" }, "and so has host1"},
		"no common family":       {Options{}, func(d *Desired) { d.Remotes[1].Underlay = addrs("fd77::3") }, "one family"},
		"one range twice":        {Options{}, func(d *Desired) { d.Remotes[1].Ranges = prefixes("10.36.0.0/14") }, "is both host2's and host3's"},
		"our range":              {Options{}, func(d *Desired) { d.Remotes[1].Ranges = prefixes("10.32.0.0/14") }, "is both host1's and host3's"},
		"host bits":              {Options{}, func(d *Desired) { d.Remotes[1].Ranges = []netip.Prefix{netip.MustParsePrefix("10.40.0.1/14")} }, "not a range"},
		"group as underlay":      {Options{}, func(d *Desired) { d.Remotes[1].Underlay = addrs("224.0.0.1") }, "cannot be an underlay address"},
		"direct, elsewhere":      {Options{Encapsulation: Direct}, func(d *Desired) { d.Remotes[1].Underlay = addrs("192.168.99.3") }, "--encapsulation=auto"},
		"direct, to a VXLAN one": {Options{Encapsulation: Direct}, func(d *Desired) { d.Remotes[1].VTEP = "5a:5e:c0:a8:4d:03" }, "--encapsulation=auto"},
		"direct IPv6 over IPv4":  {Options{Encapsulation: Direct}, func(d *Desired) { d.Remotes[1].Ranges = prefixes("fd10::/64") }, "cannot be routed directly"},
	} {
		t.Run(name, func(t *testing.T) {
			d := exampleDesired()
			d.Remotes[0].VTEP = "52:54:00:00:00:02"
			d.Remotes[1].VTEP = "52:54:00:00:00:03"
			tt.spoil(&d)
			now := hostState()
			goal, err := goalOf(withDefaults(t, tt.opts), d, now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if !strings.Contains(goal.String(), "route 10.36.0.0/14 via 192.168.77.2") {
				t.Errorf("host2 suffers for it:\n%s", goal)
			}
		})
	}
}

// TestDirectIsRefused where frames carry no hardware addresses; auto then
// encapsulates, and reports that it takes no direct traffic.
func TestDirectIsRefused(t *testing.T) {
	at := addrs("172.16.0.1")
	_, _, err := withDefaults(t, Options{Encapsulation: Direct}).report(at, hostState().interfaces)
	if err == nil || !strings.Contains(err.Error(), "direct routing is refused") || !strings.Contains(err.Error(), "tun0") {
		t.Errorf("direct: %v", err)
	}
	if _, mac, err := withDefaults(t, Options{Encapsulation: Auto}).report(at, hostState().interfaces); err != nil || takesDirect(mac) {
		t.Errorf("auto: %s, %v", mac, err)
	}
}

// TestAuto: direct to who is on the link and takes it, by tunnel to who is not.
func TestAuto(t *testing.T) {
	d := exampleDesired()
	d.Remotes[0].VTEP = "52:54:00:00:00:02"
	d.Remotes[1].VTEP, d.Remotes[1].Underlay = "52:54:00:00:00:03", addrs("192.168.99.3")
	d.Remotes = append(d.Remotes, Remote{Name: "host4", Underlay: addrs("192.168.77.4"), VTEP: "5a:5e:c0:a8:4d:04", Ranges: prefixes("fd10::/64")})
	goal, err := goalOf(withDefaults(t, Options{Encapsulation: Auto}), d, hostState())
	if err != nil {
		t.Fatal(err)
	}
	text := goal.String()
	for _, want := range []string{
		"device selvage0 vxlan id 21365 port 4789 local 192.168.77.1 mac 02:00:00:00:00:01 mtu 1450",
		"route 10.36.0.0/14 via 192.168.77.2 dev eth0 src 10.32.0.0",
		"route 10.40.0.0/14 via 192.168.99.3 dev selvage0 onlink src 10.32.0.0",
		"route fd10::/64 via fe80::585e:c0ff:fea8:4d04 dev selvage0 onlink",
		"direct 10.36.0.0/14 from 52:54:00:00:00:02",
		"direct 10.40.0.0/13 from 52:54:00:00:00:03",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "direct fd10::/64") {
		t.Errorf("host4 takes no direct traffic, and is taken direct from:\n%s", text)
	}
}

// TestReport: the address that tunnels end at is first, and what the host has
// not is left out.
func TestReport(t *testing.T) {
	got, mac, err := withDefaults(t, Options{}).report(addrs("fd77::1", "10.9.9.9", "192.168.77.1"), hostState().interfaces)
	if err != nil || len(got) != 2 || got[0] != addrs("192.168.77.1")[0] || mac != "5a:5e:c0:a8:4d:01" {
		t.Errorf("got %v, %s, %v", got, mac, err)
	}
	if _, _, err = withDefaults(t, Options{}).report(addrs("10.9.9.9"), hostState().interfaces); err == nil || !strings.Contains(err.Error(), "--node-ip") {
		t.Errorf("an address that is not the host's: %v", err)
	}
}

func TestPodMTU(t *testing.T) {
	for _, tt := range []struct {
		opts     Options
		underlay int
		tunnel   string
		want     int
	}{
		{Options{}, 1500, "192.168.77.1", 1450},
		{Options{}, 1500, "fd77::1", 1430},
		{Options{Encapsulation: Auto}, 9000, "192.168.77.1", 8950},
		{Options{Encapsulation: Direct}, 1500, "192.168.77.1", 1500},
		{Options{MTU: 1400}, 1500, "fd77::1", 1400},
		{Options{}, 1300, "192.168.77.1", 1280},
	} {
		if got := withDefaults(t, tt.opts).podMTU(tt.underlay, addrs(tt.tunnel)[0]); got != tt.want {
			t.Errorf("%+v over %d: %d, want %d", tt.opts, tt.underlay, got, tt.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"mode": {Encapsulation: "geneve"}, "device": {Device: "a/b"}, "long prefix": {Prefix: "selvagepod"}, "device like a pod's": {Device: "sv0"},
		"port": {Port: 70000}, "network": {VNI: 1 << 24}, "MTU": {MTU: 100},
	} {
		if _, err := o.withDefaults(); err == nil {
			t.Errorf("%s: %+v was taken", name, o)
		}
	}
}

// TestRulesWithout: what can be done without is left out, and no more.
func TestRulesWithout(t *testing.T) {
	all := Options{Encapsulation: Auto, lacks: lacking{notrack: true, masquerade: true, direct: true}}
	for _, r := range withDefaults(t, all).rules() {
		for _, word := range []string{"notrack", "masquerade", "ether"} {
			if strings.Contains(r.text(), word) {
				t.Errorf("rule %q", r.text())
			}
		}
	}
	if n := len(all.lacks.texts()); n != 3 {
		t.Errorf("%d texts", n)
	}
	d := exampleDesired()
	d.Remotes[0].VTEP = "52:54:00:00:00:02"
	goal, err := goalOf(withDefaults(t, all), d, hostState())
	if err != nil || len(goal.filter.direct) > 0 || !strings.Contains(goal.String(), "route 10.36.0.0/14 via 192.168.77.2 dev selvage0") {
		t.Errorf("%v\n%s", err, goal)
	}
}
