// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hosts

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long an answer may take on a slow machine; nothing waits
// that long where all is well.
const patience = 30 * time.Second

func newNet(t *testing.T) *Net {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: making network namespaces takes root. Run as root, or in a user namespace: unshare -Urm go test ./...")
	}
	n, err := New(t.Context(), "svt", netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func newHost(t *testing.T, n *Net, name string) *Host {
	t.Helper()
	h, err := n.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHostsReachEachOtherUntilTheLinkIsCut(t *testing.T) {
	n := newNet(t)
	one, two := newHost(t, n, "host1"), newHost(t, n, "host2")
	for _, to := range []netip.Addr{two.Address, two.Address6} {
		if err := one.Ping(t.Context(), to, patience); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := one.StartPing(two.Address, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	<-stream.first
	if got := stream.Stop(patience); got.Lost() != 0 {
		t.Errorf("on a whole link: %+v", got)
	}
	if err := two.Cut(); err != nil {
		t.Fatal(err)
	}
	if err := one.Ping(t.Context(), two.Address, 200*time.Millisecond); err == nil {
		t.Error("an answer through a cut link")
	}
	if err := two.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := one.Ping(t.Context(), two.Address, patience); err != nil {
		t.Errorf("after the link was healed: %v", err)
	}
}

func TestNothingLeavesTheNamespaces(t *testing.T) {
	n := newNet(t)
	h := newHost(t, n, "host1")
	for _, to := range []string{"192.0.2.1", "2001:db8::1"} {
		out, err := h.Command(t.Context(), "ip", "route", "get", to).CombinedOutput()
		if err == nil || !strings.Contains(strings.ToLower(string(out)), "unreachable") && !strings.Contains(string(out), "No route") {
			t.Errorf("%s: %s, %v, want it unreachable", to, out, err)
		}
	}
}

func TestAskKnowsWhoAnswers(t *testing.T) {
	n := newNet(t)
	one, two := newHost(t, n, "host1"), newHost(t, n, "host2")
	if err := two.AnswerWithName(7000); err != nil {
		t.Fatal(err)
	}
	for _, to := range []netip.Addr{two.Address, two.Address6} {
		reply, err := one.Ask(t.Context(), netip.AddrPortFrom(to, 7000), patience)
		if err != nil || reply.Text != "host2" || reply.From != to {
			t.Errorf("asking %s: %+v, %v", to, reply, err)
		}
	}
	ear, err := one.Listen(7001)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Say(netip.AddrPortFrom(one.Address, 7001), "hello"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); len(ear.Heard()) == 0 && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
	}
	if heard := ear.Heard(); len(heard) != 1 || heard[0] != (Reply{From: two.Address, Text: "hello"}) {
		t.Errorf("heard %+v", heard)
	}
	if err := two.Say(netip.MustParseAddrPort("192.0.2.1:9"), "into the void"); err != nil {
		t.Errorf("saying something to nobody: %v", err)
	}
}

func TestForwardReachesTheCallersLoopback(t *testing.T) {
	n := newNet(t)
	h := newHost(t, n, "host1")
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "welcome")
			conn.Close()
		}
	}()
	f, err := n.Forward(server.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	greeting := func() (line string, err error) {
		err = h.Do(func() error {
			conn, err := net.DialTimeout("tcp", f.Address.String(), patience)
			if err != nil {
				return err
			}
			defer conn.Close()
			line, err = bufio.NewReader(conn).ReadString('\n')
			return err
		})
		return line, err
	}
	if got, err := greeting(); got != "welcome\n" || err != nil {
		t.Errorf("through the forwarder: %q, %v", got, err)
	}
	f.Cut()
	if got, err := greeting(); err == nil {
		t.Errorf("through a cut forwarder: %q", got)
	}
	f.Heal()
	if got, err := greeting(); got != "welcome\n" || err != nil {
		t.Errorf("through the healed forwarder: %q, %v", got, err)
	}
}

func TestPodsAndProcessesEndWithTheirHost(t *testing.T) {
	n := newNet(t)
	h := newHost(t, n, "host1")
	pod, err := h.NewPod("web")
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.Ping(t.Context(), netip.MustParseAddr("127.0.0.1"), patience); err != nil {
		t.Error(err)
	}
	out, err := pod.Command(t.Context(), "ip", "-o", "link").CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("a new pod has more than a loopback: %s, %v", out, err)
	}
	p, err := h.StartProcess("sleep", filepath.Join(t.TempDir(), "log"), exec.Command("sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	name := &strings.Builder{}
	uname := exec.Command("uname", "-n")
	uname.Stdout = name
	if err := h.Run(uname); err != nil || name.String() != "host1\n" {
		t.Errorf("the machine's name is %q, %v", name, err)
	}
	h.Close()
	if err := p.Wait(t.Context()); err == nil {
		t.Error("the process was not killed")
	}
	if _, err := os.Stat(pod.NetNS); err == nil {
		t.Error("the pod's namespace is still open")
	}
	if err := pod.AnswerWithName(7000); err == nil {
		t.Error("a socket in a closed namespace")
	}
}

func TestAPowerCutTakesTheNetworkAndKeepsTheNetworkCard(t *testing.T) {
	n := newNet(t)
	one, two := newHost(t, n, "host1"), newHost(t, n, "host2")
	card := func(h *Host) string {
		link, err := h.link.LinkByName(uplinkName)
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().HardwareAddr.String()
	}
	before := card(two)
	if err := two.Route(netip.MustParsePrefix("10.9.0.0/16"), one.Address); err != nil {
		t.Fatal(err)
	}
	sleeper := exec.Command("sleep", "1000")
	if err := two.Start(sleeper); err != nil {
		t.Fatal(err)
	}
	if err := two.Cut(); err != nil {
		t.Fatal(err)
	}
	if err := two.Renew(); err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Wait(); err == nil {
		t.Error("a process of before the power cut ended by itself")
	}
	if after := card(two); after != before {
		t.Errorf("the network card was %s and is %s", before, after)
	}
	routes, err := two.link.RouteList(nil, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() == "10.9.0.0/16" {
			t.Error("a route of before the power cut is there")
		}
	}
	for _, to := range []netip.Addr{two.Address, two.Address6, n.Address} {
		if err := one.Ping(t.Context(), to, patience); err != nil {
			t.Errorf("after the power cut: %v", err)
		}
	}
}

// The hosts' neighbour entries for the switch must hold when ports come and go.
func TestTheSwitchKeepsItsHardwareAddress(t *testing.T) {
	n := newNet(t)
	card := func() string {
		link, err := n.space.link.LinkByName(bridgeName)
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().HardwareAddr.String()
	}
	before := card()
	for i := range 8 { // each port's address is random: one is bound to be lower
		h := newHost(t, n, fmt.Sprintf("host%d", i))
		if err := h.Renew(); err != nil {
			t.Fatal(err)
		}
		if after := card(); after != before {
			t.Fatalf("the switch's address was %s and is %s", before, after)
		}
	}
}

func TestPublishLeadsFromTheLoopbackToTheSwitch(t *testing.T) {
	n := newNet(t)
	var listener net.Listener
	err := n.Space().Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(n.Address, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "switch")
			conn.Close()
		}
	}()
	published, err := n.Publish(listener.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", published.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "switch\n" {
		t.Errorf("through the loopback came %q, %v", line, err)
	}
}
