// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen; hush, for what must
// not. Nothing fails for a machine being slow, short of patience.
const (
	patience = 30 * time.Second
	hush     = 300 * time.Millisecond
)

// lab is a network of hosts on one bridge.
type lab struct {
	t      testing.TB
	bridge *namespace
	hosts  []*host
}

// host is a machine with a datapath. Host i has 192.168.77.i and fd77::i.
type host struct {
	*namespace
	lab        *lab
	k          *Kernel
	opts       Options
	underlay   []netip.Addr
	mac        string
	ranges     []netip.Prefix
	hostAddrs  []netip.Addr
	familyPool []netip.Prefix
}

// families say what the underlay is and what is on it.
type families struct {
	name         string
	under, inner string // "4", "6" or "46"
}

func newLab(t testing.TB, n int, f families, opts Options) *lab {
	needRoot(t)
	l := &lab{t: t, bridge: newNamespace(t, "bridge")}
	l.bridge.run("ip link add br0 type bridge")
	l.bridge.run("ip link set br0 up")
	for i := 1; i <= n; i++ {
		l.add(i, f, opts)
	}
	l.set(l.hosts...)
	return l
}

func has(families, one string) bool { return bytes.Contains([]byte(families), []byte(one)) }

func (l *lab) add(i int, f families, opts Options) {
	h := &host{namespace: newNamespace(l.t, fmt.Sprintf("host%d", i)), lab: l, opts: opts}
	h.run(fmt.Sprintf("ip link add eth0 type veth peer name h%d netns %s", i, l.bridge.name))
	l.bridge.run(fmt.Sprintf("ip link set h%d master br0 up", i))
	h.run("ip link set eth0 up")
	if has(f.under, "4") {
		h.run(fmt.Sprintf("ip addr add 192.168.77.%d/24 dev eth0", i))
		h.underlay = append(h.underlay, addrs(fmt.Sprintf("192.168.77.%d", i))...)
	}
	if has(f.under, "6") {
		h.run(fmt.Sprintf("ip addr add fd77::%d/64 dev eth0 nodad", i))
		h.underlay = append(h.underlay, addrs(fmt.Sprintf("fd77::%d", i))...)
	}
	if has(f.inner, "4") {
		h.ranges = append(h.ranges, prefixes(fmt.Sprintf("10.32.%d.0/24", i))...)
		h.familyPool = append(h.familyPool, prefixes("10.32.0.0/16")...)
	}
	if has(f.inner, "6") {
		h.ranges = append(h.ranges, prefixes(fmt.Sprintf("fd10:0:0:%d::/64", i))...)
		h.familyPool = append(h.familyPool, prefixes("fd10::/48")...)
	}
	for _, r := range h.ranges {
		h.hostAddrs = append(h.hostAddrs, r.Addr())
	}
	h.k = open(l.t, h.namespace, opts)
	var err error
	if _, h.mac, err = h.k.Underlay(h.underlay); err != nil {
		l.t.Fatal(err)
	}
	l.hosts = append(l.hosts, h)
}

// desired is what a host wants when these are the network.
func (h *host) desired(network ...*host) Desired {
	d := Desired{Name: h.name, Underlay: h.underlay, HostAddresses: h.hostAddrs, Own: h.ranges, Pools: h.familyPool, Complete: true}
	for _, o := range network {
		if o != h {
			d.Remotes = append(d.Remotes, Remote{Name: o.name, Underlay: o.underlay, VTEP: o.mac, Ranges: o.ranges})
		}
	}
	return d
}

// set makes these hosts a network.
func (l *lab) set(network ...*host) {
	l.t.Helper()
	for _, h := range network {
		h.set(network...)
	}
}

func (h *host) set(network ...*host) {
	h.t.Helper()
	if err := h.k.Set(h.desired(network...)); err != nil {
		h.t.Fatalf("%s: Set: %v", h.name, err)
	}
}

// pod is a namespace that is attached to a host, with an echo service on UDP.
type pod struct {
	*namespace
	host  *host
	req   AttachRequest
	addrs []netip.Addr
}

const echoPort = 7

// pod attaches the n-th pod of a host.
func (h *host) pod(n int) *pod {
	h.t.Helper()
	p := &pod{namespace: newNamespace(h.t, fmt.Sprintf("pod%d", n)), host: h}
	for _, r := range h.ranges {
		a := r.Addr()
		for range n {
			a = a.Next()
		}
		p.addrs = append(p.addrs, a)
	}
	p.req = AttachRequest{Network: "selvage", Sandbox: p.name, IfName: "eth0", Pod: "default/" + p.name, NetNS: p.path, Addresses: p.addrs}
	if _, err := h.k.Attach(p.req); err != nil {
		h.t.Fatal(err)
	}
	for _, a := range p.addrs {
		p.echo(a)
	}
	return p
}

// listen opens a UDP socket of an address in a namespace.
func (n *namespace) listen(a netip.Addr, port int) net.PacketConn {
	n.t.Helper()
	var c net.PacketConn
	var err error
	n.enter(func() { c, err = net.ListenPacket("udp", netip.AddrPortFrom(a, uint16(port)).String()) })
	if err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	// A slow machine's test loses no packet for want of room.
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		n.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) })
	return c
}

// echo answers what comes to an address.
func (n *namespace) echo(a netip.Addr) {
	c := n.listen(a, echoPort)
	go func() {
		b := make([]byte, 65536)
		for {
			size, from, err := c.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = c.WriteTo(b[:size], from)
			}
		}
	}()
}

// asker sends to an echo service from one socket.
type asker struct {
	t    testing.TB
	conn net.PacketConn
	to   net.Addr
	next int
}

// ask makes an asker from an address in a namespace; the zero address leaves
// the choice to the kernel.
func (n *namespace) ask(from, to netip.Addr) *asker {
	n.t.Helper()
	if !from.IsValid() {
		from = anyOf(to)
	}
	return &asker{t: n.t, conn: n.listen(from, 0), to: net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, echoPort))}
}

// once sends one packet of a size and waits for its answer. Refusals that come
// by ICMP are no answers.
func (a *asker) once(size int, wait time.Duration) bool {
	a.next++
	want := fmt.Appendf(make([]byte, 0, size), "%d:", a.next)
	want = append(want, bytes.Repeat([]byte{'x'}, max(size-len(want), 0))...)
	if _, err := a.conn.WriteTo(want, a.to); err != nil {
		return false
	}
	deadline := time.Now().Add(wait)
	b := make([]byte, 65536)
	for {
		_ = a.conn.SetReadDeadline(deadline)
		n, _, err := a.conn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err == nil && bytes.Equal(b[:n], want) {
			return true
		}
	}
}

// answered wants an answer, in the end.
func (a *asker) answered(size int) {
	a.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if a.once(size, time.Second) {
			return
		}
	}
	a.t.Fatalf("%v → %v: no answer to %d bytes", a.conn.LocalAddr(), a.to, size)
}

// silent wants none.
func (a *asker) silent() {
	a.t.Helper()
	for range 3 {
		if a.once(20, hush) {
			a.t.Fatalf("%v → %v: an answer came, and none should", a.conn.LocalAddr(), a.to)
		}
	}
}

// dontFragment makes packets that are too large fail instead of being split.
func (a *asker) dontFragment() {
	a.t.Helper()
	raw, err := a.conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		a.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO))
		if errors.Is(err, unix.ENOPROTOOPT) {
			err = nil
		}
	})
	if err != nil {
		a.t.Fatal(err)
	}
}
