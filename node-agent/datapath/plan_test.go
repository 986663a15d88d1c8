// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// hostState is a host as it is before Selvage comes.
func hostState() state {
	return state{interfaces: []hostInterface{
		{name: "eth0", mtu: 1500, mac: "02:00:00:00:00:01", prefixes: prefixesUnmasked("192.168.77.1/24", "fd77::1/64")},
		{name: "tun0", mtu: 1400, prefixes: prefixesUnmasked("172.16.0.1/24")},
	}}
}

func prefixesUnmasked(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func withDefaults(t interface{ Fatal(...any) }, o Options) Options {
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func exampleDesired() Desired {
	return Desired{
		Name: "host1", Underlay: addrs("192.168.77.1"), HostAddresses: addrs("10.32.0.0"),
		Own: prefixes("10.32.0.0/14"), Pools: prefixes("10.32.0.0/12"),
		Remotes: []Remote{
			{Name: "host2", Underlay: addrs("192.168.77.2"), VTEP: "5a:5e:c0:a8:4d:02", Ranges: prefixes("10.36.0.0/14")},
			{Name: "host3", Underlay: addrs("192.168.77.3"), VTEP: "5a:5e:c0:a8:4d:03", Ranges: prefixes("10.40.0.0/14", "10.44.0.0/14")},
		},
		Complete: true,
	}
}

// steps plans, applies and returns the steps as text.
func steps(t *testing.T, opts Options, now *state, d Desired) []string {
	t.Helper()
	goal, err := goalOf(opts, d, *now)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, s := range plan(*now, goal, d.Complete) {
		texts = append(texts, s.String())
		if err := now.apply(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return texts
}

func wantSteps(t *testing.T, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, "\n"); text != strings.TrimSpace(want) {
		t.Errorf("planned:\n%s\n\nwant:\n%s", text, strings.TrimSpace(want))
	}
}

func TestPlan(t *testing.T) {
	opts := withDefaults(t, Options{})
	now := hostState()
	now.pods = []Attachment{
		{HostIf: "sva", Addresses: addrs("10.32.0.1"), Up: true},
		{HostIf: "svb", Addresses: addrs("10.32.0.2"), Up: true, Dying: true},
		{HostIf: "svc", Addresses: addrs("10.32.0.3")},
	}
	d := exampleDesired()
	rules := opts.rulesVersion()
	wantSteps(t, steps(t, opts, &now, d), `
filter replace `+rules+`: 2 peers, pools [10.32.0.0/12], 0 direct
device create selvage0 vxlan id 21365 port 4789 local 192.168.77.1 mac 5a:5e:c0:a8:4d:01 mtu 1450
address add 10.32.0.0
fdb set 5a:5e:c0:a8:4d:02 dst 192.168.77.2
fdb set 5a:5e:c0:a8:4d:03 dst 192.168.77.3
neighbour set 192.168.77.2 lladdr 5a:5e:c0:a8:4d:02
neighbour set 192.168.77.3 lladdr 5a:5e:c0:a8:4d:03
route add 10.32.0.1/32 dev sva src 192.168.77.1
route add blackhole 10.32.0.0/14 metric 16777216
route add 10.36.0.0/14 via 192.168.77.2 dev selvage0 onlink src 10.32.0.0
route add 10.40.0.0/14 via 192.168.77.3 dev selvage0 onlink src 10.32.0.0
route add 10.44.0.0/14 via 192.168.77.3 dev selvage0 onlink src 10.32.0.0`)

	if again := steps(t, opts, &now, d); len(again) > 0 {
		t.Errorf("a second plan: %v", again)
	}

	// host3 burns, and host1 takes over: not heard first, then the ways change.
	d.Remotes = d.Remotes[:1]
	d.Own = append(d.Own, prefixes("10.40.0.0/14", "10.44.0.0/14")...)
	wantSteps(t, steps(t, opts, &now, d), `
filter shrink -peer 192.168.77.3
route add blackhole 10.40.0.0/14 metric 16777216
route add blackhole 10.44.0.0/14 metric 16777216
route delete 10.40.0.0/14 via 192.168.77.3 dev selvage0 onlink src 10.32.0.0
route delete 10.44.0.0/14 via 192.168.77.3 dev selvage0 onlink src 10.32.0.0
neighbour delete 192.168.77.3 lladdr 5a:5e:c0:a8:4d:03
fdb delete 5a:5e:c0:a8:4d:03 dst 192.168.77.3`)

	// It comes back as another, with a range that was host1's: heard last.
	d.Own = d.Own[:2]
	d.Remotes = append(d.Remotes, Remote{Name: "host3", Underlay: addrs("192.168.77.3"), VTEP: "5a:5e:c0:a8:4d:03", Ranges: prefixes("10.44.0.0/14")})
	wantSteps(t, steps(t, opts, &now, d), `
fdb set 5a:5e:c0:a8:4d:03 dst 192.168.77.3
neighbour set 192.168.77.3 lladdr 5a:5e:c0:a8:4d:03
route add 10.44.0.0/14 via 192.168.77.3 dev selvage0 onlink src 10.32.0.0
route delete blackhole 10.44.0.0/14 metric 16777216
filter grow +peer 192.168.77.3`)

	// A range goes from one peer to another, without a moment without a way.
	d.Remotes[0].Ranges, d.Remotes[1].Ranges = append(d.Remotes[0].Ranges, d.Remotes[1].Ranges...), nil
	wantSteps(t, steps(t, opts, &now, d), `
route replace 10.44.0.0/14 via 192.168.77.2 dev selvage0 onlink src 10.32.0.0
neighbour delete 192.168.77.3 lladdr 5a:5e:c0:a8:4d:03
fdb delete 5a:5e:c0:a8:4d:03 dst 192.168.77.3`)
}

// TestNothingIsPrunedBeforeAllIsKnown: until then a plan only adds.
func TestNothingIsPrunedBeforeAllIsKnown(t *testing.T) {
	for _, mode := range []string{VXLAN, Auto} {
		opts := withDefaults(t, Options{Encapsulation: mode})
		now := hostState()
		d := exampleDesired()
		d.Remotes[1].VTEP = "52:54:00:00:00:03"
		steps(t, opts, &now, d)
		before := now.String()
		d.Remotes, d.Own, d.Pools, d.HostAddresses, d.Complete = nil, nil, nil, nil, false
		if got := steps(t, opts, &now, d); len(got) > 0 || now.String() != before {
			t.Errorf("%s: planned %q", mode, got)
		}
		// Not even when the rules have to be put in place anew.
		now.filter.rules = "those of another version"
		steps(t, opts, &now, d)
		if now.String() != before {
			t.Errorf("%s: came to\n%s\nwant\n%s", mode, now, before)
		}
	}
}

func TestForeignFDBEntryIsRemoved(t *testing.T) {
	opts := withDefaults(t, Options{})
	now := hostState()
	d := exampleDesired()
	steps(t, opts, &now, d)
	now.forwards = append(now.forwards, forward{"5a:5e:c0:a8:4d:02", addrs("192.168.77.66")[0]}, forward{"aa:bb:cc:dd:ee:ff", addrs("192.168.77.67")[0]})
	wantSteps(t, steps(t, opts, &now, d), `
fdb delete 5a:5e:c0:a8:4d:02 dst 192.168.77.2
fdb delete 5a:5e:c0:a8:4d:02 dst 192.168.77.66
fdb set 5a:5e:c0:a8:4d:02 dst 192.168.77.2
fdb delete aa:bb:cc:dd:ee:ff dst 192.168.77.67`)
}

func TestDeviceIsChangedOrMadeAnew(t *testing.T) {
	opts := withDefaults(t, Options{})
	d := exampleDesired()
	for name, tt := range map[string]struct {
		spoil func(*device)
		first string
	}{
		"mtu":      {func(d *device) { d.mtu = 1000 }, "device change"},
		"down":     {func(d *device) { d.up = false }, "device change"},
		"mac":      {func(d *device) { d.mac = "00:00:00:00:00:01" }, "device change"},
		"local":    {func(d *device) { d.local = addrs("192.168.77.9")[0] }, "device change"},
		"port":     {func(d *device) { d.port = 1 }, "device delete"},
		"vni":      {func(d *device) { d.vni = 1 }, "device delete"},
		"learning": {func(d *device) { d.learning = true }, "device delete"},
		"family":   {func(d *device) { d.local = addrs("fd77::1")[0] }, "device delete"},
	} {
		t.Run(name, func(t *testing.T) {
			now := hostState()
			steps(t, opts, &now, d)
			want := now.String()
			tt.spoil(now.device)
			got := steps(t, opts, &now, d)
			if len(got) == 0 || !strings.HasPrefix(got[0], tt.first) || now.String() != want {
				t.Errorf("planned %q, and came to\n%s", got, now)
			}
		})
	}
}

// drawDesired draws a small network: four ranges of various sizes, of which
// every one is ours, a peer's or nobody's.
func drawDesired(t *rapid.T, label string) Desired {
	d := Desired{Name: "host1", Underlay: addrs("192.168.77.1", "fd77::1"), Pools: prefixes("10.32.0.0/12", "fd10::/48"), Complete: true}
	d.Remotes = []Remote{
		{Name: "host2", Underlay: addrs("192.168.77.2"), VTEP: rapid.SampledFrom([]string{"5a:5e:c0:a8:4d:02", "52:54:00:00:00:02"}).Draw(t, label+" mac")},
		{Name: "host3", Underlay: addrs("192.168.99.3", "fd77::3"), VTEP: "52:54:00:00:00:03"},
		{Name: "host4", Underlay: addrs("fd77::4"), VTEP: "52:54:00:00:00:04"},
	}
	seen := map[netip.Prefix]bool{}
	for i := range 6 {
		p := rapid.SampledFrom(prefixes("10.32.0.0/12", "10.32.0.0/13", "10.32.0.0/14", "10.40.0.0/13", "10.40.0.0/32", "fd10::/48", "fd10::/49", "fd10::1/128")).Draw(t, fmt.Sprint(label, " range ", i))
		owner := rapid.IntRange(0, 4).Draw(t, fmt.Sprint(label, " owner ", i))
		switch {
		case seen[p] || owner == 4:
		case owner == 3:
			d.Own = append(d.Own, p)
		default:
			d.Remotes[owner].Ranges = append(d.Remotes[owner].Ranges, p)
		}
		seen[p] = true
	}
	if rapid.Bool().Draw(t, label+" host address") {
		d.HostAddresses = addrs("10.32.0.0")
	}
	d.Remotes = d.Remotes[:rapid.IntRange(0, 3).Draw(t, label+" remotes")]
	return d
}

// way is where a packet to an address goes; the pool is otherwise unreachable.
func (s state) way(a netip.Addr) string {
	best := route{metric: 1 << 30}
	for _, r := range s.routes {
		longer := !best.dst.IsValid() || r.dst.Bits() > best.dst.Bits() || r.dst.Bits() == best.dst.Bits() && r.metric < best.metric
		if r.dst.Contains(a) && longer {
			best = r
		}
	}
	if !best.dst.IsValid() {
		return ""
	}
	mac := ""
	for _, n := range s.neighbours {
		if n.addr == best.via {
			mac = n.mac
		}
	}
	at := slices.IndexFunc(s.forwards, func(f forward) bool { return f.mac == mac })
	if best.onlink && at < 0 {
		return "nowhere"
	}
	text := fmt.Sprint(best.blackhole, best.via, best.dev)
	if best.onlink {
		text += s.forwards[at].dst.String()
	}
	return text
}

func (s state) filterOrNone() filter {
	if s.filter == nil {
		return filter{}
	}
	return *s.filter
}

// TestPlanProperties: from any state that a Set left, with whatever is missing
// or too much, a plan reaches the goal and leaves nothing to plan; who is no
// longer a peer is not heard from the first step on; nobody is heard who is a
// peer neither before nor after; and an address whose way is the same before
// and after has it throughout, in both directions.
func TestPlanProperties(t *testing.T) {
	probes := addrs("10.32.0.0", "10.32.0.1", "10.36.0.1", "10.40.0.0", "10.44.1.1", "fd10::1", "fd10::2", "fd10:0:0:8000::1")
	for range 20 {
		rapid.Check(t, planProperties(probes))
	}
}

func planProperties(probes []netip.Addr) func(*rapid.T) {
	return func(t *rapid.T) {
		opts := withDefaults(t, Options{Encapsulation: rapid.SampledFrom([]string{VXLAN, Auto}).Draw(t, "mode")})
		now := hostState()
		now.pods = []Attachment{{HostIf: "sva", Addresses: addrs("10.32.0.1", "fd10::1"), Up: rapid.Bool().Draw(t, "up")}}
		goal, _ := goalOf(opts, drawDesired(t, "before"), now)
		for _, s := range plan(now, goal, true) {
			if err := now.apply(s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
		damaged := rapid.Bool().Draw(t, "damaged")
		if damaged {
			now = damage(t, now)
		}
		goal, _ = goalOf(opts, drawDesired(t, "after"), now)
		before := now
		walk(t, &now, goal, func(i int) {
			for _, p := range now.filter.peers {
				if !slices.Contains(goal.filter.peers, p) {
					t.Fatalf("after step %d %s is heard", i, p)
				}
			}
			for _, a := range probes {
				for _, d := range slices.Concat(before.filterOrNone().direct, goal.filter.direct) {
					heard := func(f filter) bool { return directSource{netip.PrefixFrom(a, a.BitLen()), d.mac}.within(f.direct) }
					if was := heard(before.filterOrNone()); was == heard(*goal.filter) && heard(*now.filter) != was {
						t.Fatalf("after step %d %s from %s is heard: %v", i, a, d.mac, !was)
					}
				}
				if was := before.way(a); !damaged && was == goal.way(a) && now.way(a) != was {
					t.Fatalf("after step %d packets to %s go %q instead of %q", i, a, now.way(a), was)
				}
			}
		})
		if now.String() != goal.String() {
			t.Fatalf("came to\n%s\nwant\n%s", now, goal)
		}
		if again := plan(now, goal, true); len(again) > 0 {
			t.Fatalf("a second plan: %v", again)
		}
	}
}

// walk applies a plan and looks after each step.
func walk(t *rapid.T, now *state, goal state, look func(i int)) {
	for i, s := range plan(*now, goal, true) {
		if err := now.apply(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		t.Log(s)
		look(i)
	}
}

// damage takes things away, as other programs do.
func damage(t *rapid.T, s state) state {
	thin := func(n int, label string) func(int) bool {
		keep := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, label)
		return func(i int) bool { return keep[i] }
	}
	s.routes = kept(s.routes, thin(len(s.routes), "routes"))
	s.neighbours = kept(s.neighbours, thin(len(s.neighbours), "neighbours"))
	s.forwards = kept(s.forwards, thin(len(s.forwards), "fdb"))
	s.addresses = kept(s.addresses, thin(len(s.addresses), "addresses"))
	if rapid.Bool().Draw(t, "flush ruleset") {
		s.filter = nil
	}
	return s
}

func kept[T any](all []T, keep func(int) bool) (some []T) {
	for i, x := range all {
		if keep(i) {
			some = append(some, x)
		}
	}
	return some
}
