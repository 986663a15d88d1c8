// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// eventually waits for a condition.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// ours is what of a host's interfaces and routes is a pod's. What the kernel
// says of a link's state comes with a delay.
func ours(n *namespace) string {
	state := regexp.MustCompile(` state [A-Z]+`)
	return state.ReplaceAllString(oursRaw(n), "")
}

func oursRaw(n *namespace) string {
	return strings.Join(slices.DeleteFunc(strings.Split(n.run("ip -o link")+n.run("ip route")+n.run("ip -6 route"), "\n"),
		func(line string) bool { return !strings.Contains(line, "sv") || strings.Contains(line, "selvage0") }), "\n")
}

func request(pod *namespace, addresses ...string) AttachRequest {
	return AttachRequest{Network: "selvage", Sandbox: pod.name, IfName: "eth0", Pod: "default/web", NetNS: pod.path, Addresses: addrs(addresses...)}
}

// TestCrash stops Attach and Detach between any two of their steps, as a crash
// would, opens the datapath anew and does the call again: it succeeds, and what
// the dump says in between is what can be reached.
func TestCrash(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, at := range []string{"created", "recorded", "pod configured", "routed", "dying", "unrouted"} {
		t.Run(at, func(t *testing.T) { testCrash(t, at) })
	}
}

func testCrash(t *testing.T, at string) {
	host, pod := newNamespace(t, "host"), newNamespace(t, "pod")
	k := open(t, host, Options{})
	req := request(pod, "10.32.1.1", "fd10::1")
	detaching := at == "dying" || at == "unrouted"
	if detaching {
		if _, err := k.Attach(req); err != nil {
			t.Fatal(err)
		}
	}
	k.crash = func(step string) error {
		if step == at {
			return errCrash
		}
		return nil
	}
	_, err := k.Attach(req)
	if detaching {
		err = k.Detach(req.Network, req.Sandbox, req.IfName)
	}
	if !errors.Is(err, errCrash) {
		t.Fatalf("it did not crash: %v", err)
	}

	again := open(t, host, Options{})
	dump, err := again.Dump()
	if err != nil {
		t.Fatal(err)
	}
	routed := strings.Contains(host.run("ip route")+host.run("ip -6 route"), "dev sv")
	switch {
	case detaching && len(dump) > 0:
		t.Errorf("the next agent still finds %v", dump)
	case at == "created" && len(dump) > 0:
		t.Errorf("what has no record is on record: %v", dump)
	case !detaching && at != "created" && (len(dump) != 1 || !slices.Equal(dump[0].Addresses, req.Addresses)):
		t.Errorf("what may have a route is not on record: %v", dump)
	case routed && len(dump) == 0:
		t.Errorf("routed, and not on record: %s", ours(host))
	}
	if !detaching {
		if _, err := again.Attach(req); err != nil {
			t.Fatal(err)
		}
		if err := again.Check(Attachment{Network: req.Network, Sandbox: req.Sandbox, IfName: req.IfName, Addresses: req.Addresses}); err != nil {
			t.Error(err)
		}
	}
	if err := again.Detach(req.Network, req.Sandbox, req.IfName); err != nil {
		t.Error(err)
	}
	eventually(t, "nothing left", func() bool { return ours(host) == "" })
	if left := pod.run("ip -o link"); strings.Contains(left, "eth0") {
		t.Errorf("left in the pod: %s", left)
	}
}

// TestAttachIsIdempotent: a repetition gives the same, and repairs what others
// took away; so does one after a restart, or while the link is still dying.
func TestAttachIsIdempotent(t *testing.T) {
	t.Parallel()
	needRoot(t)
	host, pod := newNamespace(t, "host"), newNamespace(t, "pod")
	k := open(t, host, Options{})
	req := request(pod, "10.32.1.1", "fd10::1")
	first, err := k.Attach(req)
	if err != nil {
		t.Fatal(err)
	}
	before := ours(host)
	for name, spoil := range map[string]func(){
		"nothing":       func() {},
		"routes":        func() { host.run("ip route flush proto 115"); host.run("ip -6 route flush proto 115") },
		"default route": func() { pod.run("ip route del default dev eth0") },
		"restart":       func() { k = open(t, host, Options{}) },
	} {
		spoil()
		got, err := k.Attach(req)
		if err != nil || got != first {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, first)
		}
		if now := ours(host); now != before {
			t.Errorf("%s: host has\n%s\nwant\n%s", name, now, before)
		}
		if !strings.Contains(pod.run("ip route"), "default via 169.254.1.1 dev eth0") {
			t.Errorf("%s: the pod has no way out", name)
		}
	}
	if _, err := k.Attach(request(pod, "10.32.1.2")); err == nil || !strings.Contains(err.Error(), "detach it first") {
		t.Errorf("other addresses for the same: %v", err)
	}
	for range 2 {
		if err := k.Detach(req.Network, req.Sandbox, req.IfName); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Attach(req); err != nil {
		t.Errorf("attaching while it dies: %v", err)
	}
}

// TestAttachFails: each failure says what to do, and leaves nothing behind.
func TestAttachFails(t *testing.T) {
	t.Parallel()
	needRoot(t)
	host, other := newNamespace(t, "host"), newNamespace(t, "other")
	k := open(t, host, Options{})
	if _, err := k.Attach(request(other, "10.32.1.9")); err != nil {
		t.Fatal(err)
	}
	before := ours(host)
	for name, tt := range map[string]struct {
		spoil func(pod *namespace, req *AttachRequest)
		want  string
	}{
		"no such namespace": {func(_ *namespace, r *AttachRequest) { r.NetNS = "/nowhere" }, "/nowhere"},
		"not a namespace":   {func(_ *namespace, r *AttachRequest) { r.NetNS = "/dev/null" }, "not a pod's network namespace"},
		"the host's":        {func(_ *namespace, r *AttachRequest) { r.NetNS = host.path }, "it is the host's own"},
		"interface exists":  {func(p *namespace, _ *AttachRequest) { p.run("ip link add eth0 type bridge") }, "has an interface eth0 already"},
		"IPv6 disabled": {func(p *namespace, _ *AttachRequest) {
			p.enter(func() { _ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) })
		}, "IPv6 is disabled in the pod's network namespace"},
		"address in use": {func(_ *namespace, r *AttachRequest) { r.Addresses = addrs("10.32.1.9") }, "is routed elsewhere already"},
		"bad name":       {func(_ *namespace, r *AttachRequest) { r.IfName = "a/b" }, "not an interface name"},
		"small MTU":      {func(_ *namespace, r *AttachRequest) { r.MTU = 100 }, "MTU 100"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newNamespace(t, "pod")
			req := request(pod, "10.32.1.1", "fd10::1")
			tt.spoil(pod, &req)
			if _, err := k.Attach(req); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if now := ours(host); now != before {
				t.Errorf("left behind:\n%s\nwas\n%s", now, before)
			}
		})
	}
}

// TestSecondInterface: a pod that has a default route keeps it, and gets ways to
// the pools.
func TestSecondInterface(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, families{"", "46", "46"}, Options{})
	p := l.hosts[0].pod(1)
	req := p.req
	req.IfName, req.Addresses = "net1", addrs("10.32.1.50", "fd10:0:0:1::50")
	if _, err := l.hosts[0].k.Attach(req); err != nil {
		t.Fatal(err)
	}
	routes := p.run("ip route") + p.run("ip -6 route")
	for _, want := range []string{"default via 169.254.1.1 dev eth0", "10.32.0.0/16 via 169.254.1.1 dev net1", "default via fe80::1 dev eth0", "fd10::/48 via fe80::1 dev net1"} {
		if !strings.Contains(routes, want) {
			t.Errorf("%q is missing in\n%s", want, routes)
		}
	}
}

// TestRepairLooksAgain: a Set that has seen a pod without its route does not put
// it back when the pod is going by now, or when another has the address.
func TestRepairLooksAgain(t *testing.T) {
	needRoot(t)
	t.Parallel()
	host, pod := newNamespace(t, "host"), newNamespace(t, "pod")
	k := open(t, host, Options{})
	req := request(pod, "10.32.1.1")
	i, err := k.Attach(req)
	if err != nil {
		t.Fatal(err)
	}
	k.crash = func(step string) error {
		if step == "unrouted" {
			return errCrash
		}
		return nil
	}
	if err := k.Detach(req.Network, req.Sandbox, req.IfName); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	repair := func() {
		err := k.do(func(w *worker) error {
			r, err := k.read(w.host, k.options())
			if err != nil {
				return err
			}
			a := applying{k: k, w: w, reading: r}
			return a.run([]step{{op: routeAdd, route: route{dst: prefixes("10.32.1.1/32")[0], dev: i.HostIf}}})
		})
		if err != nil {
			t.Error(err)
		}
	}
	repair()
	if got := host.run("ip route show proto 115"); got != "" {
		t.Errorf("a freed address is routed: %s", got)
	}
}

// TestCutOff: taken down, a pod is silent, and a Set leaves it so; brought up
// again, it has its ways back.
func TestCutOff(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	one := l.hosts[0]
	p, far := one.pod(1), l.hosts[1].pod(1)
	a, found, err := one.k.Lookup(p.req.Network, p.req.Sandbox, p.req.IfName)
	if err != nil || !found {
		t.Fatal(err)
	}
	for range 2 {
		if err := one.k.CutOff(a, true); err != nil {
			t.Fatal(err)
		}
		one.set(l.hosts...)
		for i := range p.addrs {
			far.ask(netip.Addr{}, p.addrs[i]).silent()
		}
		if err := one.k.Check(a); err == nil || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("Check: %v", err)
		}
		if err := one.k.CutOff(a, false); err != nil {
			t.Fatal(err)
		}
		for i := range p.addrs {
			far.ask(netip.Addr{}, p.addrs[i]).answered(20)
		}
		if err := one.k.Check(a); err != nil {
			t.Error(err)
		}
	}
}
