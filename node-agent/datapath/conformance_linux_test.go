// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
)

type nftablesTable = nftables.Table

// port is what a datapath does for the rest of the agent.
type port interface {
	Attach(AttachRequest) (Interfaces, error)
	Detach(network, sandbox, ifname string) error
	Lookup(network, sandbox, ifname string) (Attachment, bool, error)
	Check(Attachment) error
	Watch(context.Context, func(Attachment)) ([]Attachment, error)
	Dump() ([]Attachment, error)
	CutOff(Attachment, bool) error
	Underlay([]netip.Addr) ([]netip.Addr, string, error)
	Set(Desired) error
	Remove() error
	Missing() []string
	Close() error
}

// TestConformance runs one script over the fake and over the kernel, and wants
// the same answers and the same state of both after every line.
func TestConformance(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, mode := range []string{VXLAN, Auto} {
		t.Run(mode, func(t *testing.T) {
			opts := Options{Encapsulation: mode}
			l := newLab(t, 0, families{}, opts)
			l.add(1, families{"", "46", "46"}, opts)
			h := l.hosts[0]
			h.run("ip link set eth0 address 02:00:00:00:00:01")
			fake, err := NewFake(opts, prefixesUnmasked("192.168.77.1/24", "fd77::1/64")...)
			if err != nil {
				t.Fatal(err)
			}
			real := script(t, h.k, func() string { return settled(readState(t, h)) }, newNamespace(t, "a").path, newNamespace(t, "b").path)
			faked := script(t, fake, fake.String, "a", "b")
			for i := range max(len(real), len(faked)) {
				if real[i] != faked[i] {
					t.Fatalf("step %d: the kernel:\n%s\n\nthe fake:\n%s", i, real[i], faked[i])
				}
			}
		})
	}
}

// settled is a state without the links that are about to go.
func settled(state string) string {
	lines := strings.Split(strings.TrimSuffix(state, "\n"), "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasSuffix(l, " dying") }), "\n")
}

// bothFamilies is a network of both, one of whose peers takes direct traffic.
func bothFamilies() Desired {
	d := exampleDesired()
	d.Pools, d.Own = append(d.Pools, prefixes("fd10::/48")...), append(d.Own, prefixes("fd10::/64")...)
	d.HostAddresses = append(d.HostAddresses, addrs("fd10::")...)
	d.Remotes[0].VTEP = "52:54:00:00:00:02"
	d.Remotes[1].Ranges = append(d.Remotes[1].Ranges, prefixes("fd10:0:0:3::/64")...)
	return d
}

// script is a life in the cluster; it returns what was said and seen.
func script(t *testing.T, k port, state func() string, spaces ...string) (log []string) {
	note := func(what string, answers ...any) {
		text := what
		for _, a := range answers {
			if err, bad := a.(error); bad && err != nil {
				a = "an error"
			}
			text += fmt.Sprintf(" %+v", a)
		}
		log = append(log, text+"\n"+state())
	}
	d := bothFamilies()
	req := AttachRequest{Network: "selvage", Sandbox: "a", IfName: "eth0", Pod: "default/a", NetNS: spaces[0], Addresses: addrs("10.32.0.1", "fd10::1")}
	set := func(what string) { note(what, k.Set(d)) }
	attach := func(what string) { i, err := k.Attach(req); note(what, i, err) }
	dump := func(what string) {
		all, err := k.Dump()
		slices.SortFunc(all, func(a, b Attachment) int { return strings.Compare(a.Sandbox, b.Sandbox) })
		note(what, all, err)
	}
	addrs1, mac, err := k.Underlay(addrs("192.168.77.1", "fd77::1"))
	note("underlay", addrs1, mac, err)
	attach("attach before set")
	set("set")
	set("set again")
	attach("attach again")
	req.Sandbox, req.NetNS, req.Addresses = "b", spaces[1], addrs("10.32.0.2")
	attach("attach another")
	req.Sandbox = "c"
	attach("attach with an address in use")
	req.Addresses = nil
	attach("attach with none")
	dump("dump")
	b, found, err := k.Lookup("selvage", "b", "eth0")
	note("lookup", b.Addresses, found, err, k.Check(b))
	note("cut off", k.CutOff(b, true), k.Check(b))
	set("set with one cut off")
	note("brought back", k.CutOff(b, false), k.Check(b))
	d.Complete = false
	remotes, own := d.Remotes, d.Own
	d.Remotes, d.Own = nil, nil
	set("nothing known yet")
	d.Complete, d.Remotes, d.Own = true, remotes[:1], append(own, prefixes("10.40.0.0/14", "10.44.0.0/14")...)
	set("host3 burns")
	d.Remotes, d.Own = remotes, own
	set("host3 is back")
	d.Remotes[1].VTEP = ""
	set("host3 reports badly")
	note("detach", k.Detach("selvage", "a", "eth0"), k.Detach("selvage", "a", "eth0"), k.Detach("selvage", "never", "eth0"))
	_, found, err = k.Lookup("selvage", "a", "eth0")
	note("lookup of what is gone", found, err)
	d.Own = nil
	note("bad call", k.Set(Desired{Own: []netip.Prefix{{}}}))
	set("nothing owned")
	note("missing", k.Missing())
	note("removed", k.Remove(), k.Remove())
	set("set anew")
	return log
}

// TestPortIsMet: the fake has all that the kernel has.
func TestPortIsMet(t *testing.T) {
	var _, _ port = (*Kernel)(nil), (*Fake)(nil)
	own := []string{"String", "Hears"} // what tests ask the fake alone
	if k, f := reflect.TypeFor[*Kernel]().NumMethod(), reflect.TypeFor[*Fake]().NumMethod(); f != k+len(own) {
		t.Errorf("the kernel has %d methods, the fake %d, of which %v are its own", k, f, own)
	}
}
