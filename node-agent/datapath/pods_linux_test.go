// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
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

// TestWatch: whatever way a link goes, its attachment is reported, once, also
// when the kernel's news were lost; those that stay are not.
func TestWatch(t *testing.T) {
	needRoot(t)
	t.Parallel()
	k := open(t, newNamespace(t, "host"), Options{})
	k.watchBuffer = 1 // the kernel rounds it up to its least, which a few links overrun
	var pods []*namespace
	for i := range 20 {
		pod := newNamespace(t, fmt.Sprint("pod", i))
		if _, err := k.Attach(request(pod, fmt.Sprint("10.32.2.", i))); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
	}
	gone, hold := make(chan string, 100), make(chan struct{})
	all, err := k.Watch(t.Context(), func(a Attachment) { gone <- a.Sandbox; <-hold })
	if err != nil || len(all) != len(pods) {
		t.Fatalf("found %d pods, %v", len(all), err)
	}
	pods[0].remove() // the runtime was quicker than DEL, or DEL never comes
	if got := <-gone; got != pods[0].name {
		t.Fatalf("%s was reported gone", got)
	}
	// The watcher is busy now, and what happens overruns its buffer.
	want := map[string]bool{}
	stay := 0
	for i, pod := range pods[1:] {
		switch i % 3 {
		case 0:
			stay++
			continue
		case 1:
			pod.remove()
		default:
			if err := k.Detach("selvage", pod.name, "eth0"); err != nil {
				t.Fatal(err)
			}
		}
		want[pod.name] = true
	}
	eventually(t, "all links gone", func() bool {
		all, err := k.Dump()
		return err == nil && len(all) == stay
	})
	close(hold)
	for len(want) > 0 {
		select {
		case name := <-gone:
			if !want[name] {
				t.Errorf("%s was reported gone, and is there, or was reported before", name)
			}
			delete(want, name)
		case <-time.After(patience):
			t.Fatalf("never reported: %v", want)
		}
	}
}

// TestReplacedIsNotGone: when an attachment is made anew while its link dies,
// the old link's going is no news of the attachment.
func TestReplacedIsNotGone(t *testing.T) {
	needRoot(t)
	t.Parallel()
	k := open(t, newNamespace(t, "host"), Options{})
	again, last := newNamespace(t, "again"), newNamespace(t, "last")
	gone := make(chan string, 10)
	if _, err := k.Watch(t.Context(), func(a Attachment) { gone <- a.Sandbox }); err != nil {
		t.Fatal(err)
	}
	attach := func(n *namespace) {
		if _, err := k.Attach(request(n, "10.32.1.1")); err != nil {
			t.Fatal(err)
		}
	}
	attach(again)
	if err := k.Detach("selvage", again.name, "eth0"); err != nil {
		t.Fatal(err)
	}
	attach(again)
	// The watcher looks when it gets to it: it must find the new link live.
	before, _, err := k.Lookup("selvage", again.name, "eth0")
	if err != nil || before.Dying {
		t.Fatalf("%+v, %v", before, err)
	}
	req := request(last, "10.32.1.2")
	if _, err := k.Attach(req); err != nil {
		t.Fatal(err)
	}
	last.remove()
	if got := <-gone; got != last.name {
		t.Errorf("%s was reported gone, and is there", got)
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

// TestReadOnlySysctls: with the right values a read-only /proc/sys will do; with
// a wrong one the error names the remedy. It runs itself again in mounts of its
// own.
func TestReadOnlySysctls(t *testing.T) {
	needRoot(t)
	if want, inside := os.LookupEnv("SELVAGE_TEST_READ_ONLY"); inside {
		readOnlySysctls(t, want)
		return
	}
	for _, value := range []string{"0", "1"} {
		host := newNamespace(t, "host")
		host.enter(func() {
			for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
				_ = os.WriteFile("/proc/sys/net/"+f, []byte(value), 0)
			}
		})
		cmd := exec.Command("unshare", "--mount", "sh", "-c", "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec \"$0\" -test.v -test.run=^TestReadOnlySysctls$", os.Args[0])
		cmd.Env = append(os.Environ(), "SELVAGE_TEST_READ_ONLY="+value+host.path)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "read-only: seen") {
			t.Errorf("forwarding=%s: %v\n%s", value, err, out)
		}
	}
}

func readOnlySysctls(t *testing.T, what string) {
	k, err := Open(Options{NetNS: what[1:]})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	pod := newNamespace(t, "pod")
	for _, address := range []string{"10.32.1.1", "fd10::1"} {
		req := request(pod, address)
		req.Sandbox = address
		req.IfName = map[bool]string{true: "eth0", false: "eth1"}[strings.HasPrefix(address, "10")]
		_, err = k.Attach(req)
		if what[0] == '1' && err != nil {
			t.Errorf("with the right value: %v", err)
		}
		if what[0] == '0' && (err == nil || !strings.Contains(err.Error(), "sysctl -w net.ipv") || !strings.Contains(err.Error(), "writable /proc/sys")) {
			t.Errorf("with the wrong value: %v", err)
		}
	}
	t.Log("read-only: seen")
}

// TestForwardingKeepsTheDefaultRoute: a host that takes routers' advertisements
// still does when it forwards.
func TestForwardingKeepsTheDefaultRoute(t *testing.T) {
	t.Parallel()
	needRoot(t)
	host := newNamespace(t, "host")
	host.run("ip link add eth0 type veth peer name other")
	k := open(t, host, Options{})
	if err := k.forward(true); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(host.run("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")); got != "2" {
		t.Errorf("accept_ra is %s", got)
	}
}
