// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ear listens for packets, to tell what is heard from what is answered.
type ear struct {
	t    testing.TB
	conn net.PacketConn
	to   netip.AddrPort
}

// ear listens on an address.
func (n *namespace) ear(a netip.Addr) *ear {
	n.t.Helper()
	c := n.listen(a, 0)
	return &ear{t: n.t, conn: c, to: netip.AddrPortFrom(a, c.LocalAddr().(*net.UDPAddr).AddrPort().Port())}
}

// hears says whether a packet from an address in a namespace arrives.
func (e *ear) hears(n *namespace, from netip.Addr, wait time.Duration) bool {
	e.t.Helper()
	mouth := n.listen(from, 0)
	word := fmt.Sprintf("%s %d", mouth.LocalAddr(), time.Now().UnixNano())
	b := make([]byte, 200)
	for end := time.Now().Add(wait); time.Now().Before(end); {
		// A refusal by ICMP is not a failure of the test: not to be heard may be wanted.
		_, _ = mouth.WriteTo([]byte(word), net.UDPAddrFromAddrPort(e.to))
		_ = e.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for {
			size, _, err := e.conn.ReadFrom(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err == nil && string(b[:size]) == word {
				return true
			}
		}
	}
	return false
}

func (e *ear) mustHear(n *namespace, from netip.Addr) {
	e.t.Helper()
	if !e.hears(n, from, patience) {
		e.t.Fatalf("%s from %s is not heard at %s", n.name, from, e.to)
	}
}

func (e *ear) mustNotHear(n *namespace, from netip.Addr) {
	e.t.Helper()
	if e.hears(n, from, hush) {
		e.t.Fatalf("%s from %s is heard at %s, and must not be", n.name, from, e.to)
	}
}

// TestRemovedPeerIsNotHeard: a peer that others have removed, and that does not
// know it, still sends by its old ways, and nothing of it arrives; what its
// heir sends with the same addresses does.
func TestRemovedPeerIsNotHeard(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{VXLAN, Direct, Auto} {
		for _, f := range []families{{"IPv4", "4", "4"}, {"both over IPv6", "6", "46"}} {
			t.Run(mode+" "+f.name, func(t *testing.T) { testRemovedPeer(t, f, mode) })
		}
	}
}

func testRemovedPeer(t *testing.T, f families, mode string) {
	t.Parallel()
	l := newLab(t, 3, f, Options{Encapsulation: mode})
	one, heir, stale := l.hosts[0], l.hosts[1], l.hosts[2]
	good, bad := one.pod(1), stale.pod(1)
	var ears []*ear
	for i, a := range good.addrs {
		e := good.ear(a)
		e.mustHear(bad.namespace, bad.addrs[i])
		ears = append(ears, e)
	}
	// host3 is removed and host2 inherits; host3 hears nothing of it.
	heir.ranges = append(heir.ranges, stale.ranges...)
	one.set(one, heir)
	heir.set(one, heir)
	for i, e := range ears {
		e.mustNotHear(bad.namespace, bad.addrs[i])
		e.mustNotHear(stale.namespace, stale.hostAddrs[i])
	}
	// The heir uses the very address that the stale pod still has.
	again := &pod{namespace: newNamespace(t, "again"), host: heir, addrs: bad.addrs}
	again.req = AttachRequest{Network: "selvage", Sandbox: "again", IfName: "eth0", NetNS: again.path, Addresses: again.addrs}
	if _, err := heir.k.Attach(again.req); err != nil {
		t.Fatal(err)
	}
	for i, e := range ears {
		e.mustHear(again.namespace, again.addrs[i])
		e.mustNotHear(bad.namespace, bad.addrs[i])
	}
	// host3 joins again, with a range of its own.
	heir.ranges = heir.ranges[:len(one.ranges)]
	l.set(l.hosts...)
	for i, e := range ears {
		e.mustHear(bad.namespace, bad.addrs[i])
	}
}

// TestRemovedPeerIsNotRelayed: a survivor whose agent is dead still hears a peer
// that all others have cut off. What the removed one sends to another by an old
// way that leads over the survivor does not arrive either, with or without an
// encapsulation.
func TestRemovedPeerIsNotRelayed(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{VXLAN, Direct, Auto} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 3, families{"", "46", "46"}, Options{Encapsulation: mode})
			one, dead, stale := l.hosts[0], l.hosts[1], l.hosts[2]
			good, between, bad := one.pod(1), dead.pod(1), stale.pod(1)
			// host3 knows host1's range as host2's: it has missed that it moved.
			own := dead.ranges
			dead.ranges = append(slices.Clone(own), one.ranges...)
			stale.set(stale, dead)
			dead.ranges = own
			// host1 has cut host3 off; host2 has not.
			one.set(one, dead)
			for i, a := range good.addrs {
				e := good.ear(a)
				e.mustHear(between.namespace, between.addrs[i])
				e.mustNotHear(bad.namespace, bad.addrs[i])
			}
			// It was host2 that was to pass it on: it hears host3 itself.
			for i, a := range between.addrs {
				between.ear(a).mustHear(bad.namespace, bad.addrs[i])
			}
		})
	}
}

// TestServiceIsSentOn: what comes out of a tunnel for a Service's node, and is
// translated there, goes on through another tunnel.
func TestServiceIsSentOn(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, families{"", "4", "4"}, Options{})
	client, node, server := l.hosts[0].pod(1), l.hosts[1], l.hosts[2].pod(1)
	e := server.ear(server.addrs[0])
	node.translate(t, node.hostAddrs[0], server.addrs[0])
	(&ear{t: t, conn: e.conn, to: netip.AddrPortFrom(node.hostAddrs[0], e.to.Port())}).mustHear(client.namespace, client.addrs[0])
}

// translate gives all that is sent to one address another destination.
func (n *namespace) translate(t *testing.T, from, to netip.Addr) {
	t.Helper()
	space, err := os.Open(n.path)
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(space.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "service", Family: nftables.TableFamilyIPv4})
	chain := conn.AddChain(&nftables.Chain{Name: "to", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.AsSlice()},
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestPeerSpeaksForItselfOnly: in direct mode a current peer is not heard with
// an address of another's range, nor a stranger with any.
func TestPeerSpeaksForItselfOnly(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{VXLAN, Direct, Auto} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 3, families{"", "46", "46"}, Options{Encapsulation: mode})
			one, two := l.hosts[0], l.hosts[1]
			good := one.pod(1)
			stranger := newNamespace(t, "stranger")
			stranger.run("ip link add eth0 type veth peer name stranger netns " + l.bridge.name)
			l.bridge.run("ip link set stranger master br0 up")
			stranger.run("ip link set eth0 up")
			stranger.run("ip addr add 192.168.77.9/24 dev eth0")
			stranger.run("ip addr add fd77::9/64 dev eth0 nodad")
			for i, a := range good.addrs {
				e := good.ear(a)
				e.mustHear(two.namespace, two.hostAddrs[i])
				via := []string{"192.168.77.1", "fd77::1"}[i]
				forged := []string{"10.32.3.9", "fd10:0:0:3::9"}[i]
				for _, liar := range []*namespace{two.namespace, stranger} {
					liar.run("ip addr add " + forged + " dev lo" + nodad(forged))
					liar.run(fmt.Sprintf("ip route replace %s via %s dev eth0", a, via))
					e.mustNotHear(liar, addrs(forged)[0])
				}
			}
		})
	}
}

// TestStrangersTunnelIsNotHeard: VXLAN packets of our network from an address
// that no peer has are dropped, whatever they carry and however they are
// addressed.
func TestStrangersTunnelIsNotHeard(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, families{"", "4", "4"}, Options{})
	one, two, three := l.hosts[0], l.hosts[1], l.hosts[2]
	good := one.pod(1)
	e := good.ear(good.addrs[0])
	e.mustHear(three.namespace, three.hostAddrs[0])
	// host3 changes its address, and still has all its ways.
	three.run("ip addr add 192.168.77.33/24 dev eth0")
	three.run("ip link set selvage0 type vxlan id 21365 local 192.168.77.33")
	e.mustNotHear(three.namespace, three.hostAddrs[0])
	// By broadcast, a tunnel's packet reaches every host's socket.
	three.run("bridge fdb replace 5a:5e:c0:a8:4d:01 dev selvage0 dst 192.168.77.255 self permanent")
	e.mustNotHear(three.namespace, three.hostAddrs[0])
	e.mustHear(two.namespace, two.hostAddrs[0])
}

// TestPodSpeaksForItselfOnly: a pod is not heard with an address that is not
// its own, be it nobody's, another pod's, the node's or a stranger's.
func TestPodSpeaksForItselfOnly(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	bad, near, far := l.hosts[0].pod(1), l.hosts[0].pod(2), l.hosts[1].pod(1)
	forged := [][]string{
		{"10.32.1.77", near.addrs[0].String(), far.addrs[0].String(), "192.168.77.1", "10.32.1.0", "203.0.113.1"},
		{"fd10:0:0:1::77", near.addrs[1].String(), far.addrs[1].String(), "fd77::1", "fd10:0:0:1::", "2001:db8::1"},
	}
	for i := range bad.addrs {
		for _, to := range []*pod{near, far} {
			e := to.ear(to.addrs[i])
			e.mustHear(bad.namespace, bad.addrs[i])
			for _, f := range forged[i] {
				if f == to.addrs[i].String() {
					continue // its own socket
				}
				bad.run("ip addr replace " + f + " dev lo" + nodad(f))
				e.mustNotHear(bad.namespace, addrs(f)[0])
				bad.run("ip addr del " + f + " dev lo")
			}
		}
	}
}

// TestFreedAddressIsNotHeard: from Detach on, while the link is still dying,
// the pod is not heard; not even when its address is another pod's already.
func TestFreedAddressIsNotHeard(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	one := l.hosts[0]
	old, far := one.pod(1), l.hosts[1].pod(1)
	one.k.crash = func(step string) error { // the reaper hears of nothing
		if step == "unrouted" {
			return errCrash
		}
		return nil
	}
	if err := one.k.Detach("selvage", old.req.Sandbox, "eth0"); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	for i, a := range far.addrs {
		e := far.ear(a)
		e.mustNotHear(old.namespace, old.addrs[i])
	}
	again := one.pod(1)
	for i, a := range far.addrs {
		e := far.ear(a)
		e.mustHear(again.namespace, again.addrs[i])
		e.mustNotHear(old.namespace, old.addrs[i])
		back := far.ask(netip.Addr{}, again.addrs[i])
		back.answered(20)
	}
}

// TestUnusedAddressesGoNowhere: packets to what no pod has, in a range of ours,
// do not leave by the default route, from where they would come back.
func TestUnusedAddressesGoNowhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	one, far := l.hosts[0], l.hosts[1].pod(1)
	// The gateway leads the pools back to the host, and has ears.
	l.bridge.run("ip addr add 192.168.77.254/24 dev br0")
	l.bridge.run("ip addr add fd77::254/64 dev br0 nodad")
	one.run("ip route replace default via 192.168.77.254")
	one.run("ip route replace default via fd77::254")
	unused := []string{"10.32.1.99", "fd10:0:0:1::99"}
	for i, u := range unused {
		l.bridge.run("ip addr add " + u + " dev lo" + nodad(u))
		e := l.bridge.ear(addrs(u)[0])
		e.mustNotHear(far.namespace, far.addrs[i])
		e.mustNotHear(one.namespace, one.underlay[i])
	}
}

// TestMasquerade: what leaves the pools has the node's address; what stays
// inside keeps the pod's.
func TestMasquerade(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	one := l.hosts[0]
	in, far := one.pod(1), l.hosts[1].pod(1)
	outside := newNamespace(t, "outside") // has no way back to the pools
	outside.run("ip link add eth0 type veth peer name outside netns " + l.bridge.name)
	l.bridge.run("ip link set outside master br0 up")
	outside.run("ip link set eth0 up")
	outside.run("ip addr add 192.168.77.250/24 dev eth0")
	outside.run("ip addr add fd77::250/64 dev eth0 nodad")
	for i, a := range addrs("192.168.77.250", "fd77::250") {
		outside.echo(a)
		in.ask(in.addrs[i], a).answered(20)
		wantSource(t, outside, a, in, one.underlay[i])
		wantSource(t, far.namespace, far.addrs[i], in, in.addrs[i])
	}
}

// wantSource checks what a listener sees as a pod's address.
func wantSource(t *testing.T, n *namespace, at netip.Addr, from *pod, want netip.Addr) {
	t.Helper()
	c := n.listen(at, 0)
	port := c.LocalAddr().(*net.UDPAddr).Port
	mouth := from.listen(anyOf(at), 0)
	b := make([]byte, 10)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, _ = mouth.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, uint16(port))))
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, seen, err := c.ReadFrom(b)
		if err != nil {
			continue
		}
		if got := seen.(*net.UDPAddr).AddrPort().Addr(); got != want {
			t.Fatalf("%s sees %s, want %s", n.name, got, want)
		}
		return
	}
	t.Fatalf("%s hears nothing", n.name)
}

// TestTunnelsAreNotTracked: flows between pods cost the hosts no conntrack entry
// for the tunnel's port.
func TestTunnelsAreNotTracked(t *testing.T) {
	t.Parallel()
	for _, f := range []families{{"IPv4", "4", "4"}, {"IPv6", "6", "6"}} {
		t.Run(f.name, func(t *testing.T) {
			l := newLab(t, 2, f, Options{})
			from, to := l.hosts[0].pod(1), l.hosts[1].pod(1)
			for range 20 {
				from.ask(from.addrs[0], to.addrs[0]).answered(20)
			}
			for _, h := range l.hosts {
				inner := 0
				for _, flow := range strings.Split(h.run("cat /proc/net/nf_conntrack"), "\n") {
					if strings.Contains(flow, "dport=4789") {
						t.Errorf("%s tracks %s", h.name, flow)
					}
					if strings.Contains(flow, "dport=7 ") {
						inner++
					}
				}
				if inner == 0 {
					t.Errorf("%s tracks nothing at all: this test shows nothing", h.name)
				}
			}
		})
	}
}

// nodad makes an IPv6 address usable at once.
func nodad(address string) string {
	if strings.Contains(address, ":") {
		return " nodad"
	}
	return ""
}
