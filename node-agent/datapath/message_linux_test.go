// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzKernelMessages: no datagram, however broken, makes the parsers panic.
func FuzzKernelMessages(f *testing.F) {
	for _, m := range []*message{
		linkMessage(unix.RTM_NEWLINK, 0, 7).text(unix.IFLA_IFNAME, "sva").attr(unix.IFLA_IFALIAS, []byte("selvage/1 10.0.0.1 n s eth0")),
		addressMessage(unix.RTM_NEWADDR, 0, 7, addrs("fd00::1")[0]),
		routeMessage(unix.RTM_NEWROUTE, 0, routeSpec{dst: prefixes("10.0.0.0/8")[0], via: addrs("fe80::1")[0], oif: 7, src: addrs("10.0.0.1")[0], metric: 1}),
		neighbourMessage(unix.RTM_NEWNEIGH, 0, 7, addrs("10.0.0.1")[0], mustMAC("02:00:00:00:00:01")),
		fdbMessage(unix.RTM_NEWNEIGH, 0, 7, mustMAC("02:00:00:00:00:01"), addrs("10.0.0.1")[0]),
		vxlanMessage(0, 0, device{name: "selvage0", vni: 1, port: 2, local: addrs("10.0.0.1")[0]}),
	} {
		m.seal(1)
		f.Add(m.buf)
	}
	opts, err := Options{}.withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = eachMessage(b, func(h unix.NlMsghdr, body []byte) {
			_ = parseError(h, body)
			l := parseLink(body)
			_, _ = opts.attachment(l)
			_ = parseDevice(l)
			if r, ours := parseRoute(body); ours && !r.dst.IsValid() {
				t.Fatalf("a route to nowhere: %+v", r)
			}
			r := reading{opts: opts}
			r.entry(body, 7)
			_, _ = parseAddress(body)
		})
	})
}

// TestRoutesReadBack: what a message says is what its parser reads.
func TestRoutesReadBack(t *testing.T) {
	for _, want := range []routeSpec{
		{dst: prefixes("10.0.0.0/8")[0], kind: unix.RTN_UNICAST, via: addrs("10.1.0.1")[0], oif: 7, onlink: true, src: addrs("10.0.0.1")[0]},
		{dst: prefixes("10.0.0.0/8")[0], kind: unix.RTN_UNICAST, via: addrs("fe80::1")[0], oif: 7},
		{dst: prefixes("fd00::/8")[0], kind: unix.RTN_UNICAST, via: addrs("fe80::1")[0], oif: 7, metric: 5},
		{dst: prefixes("fd00::/8")[0], kind: unix.RTN_BLACKHOLE, metric: blackholeMetric},
		{dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), kind: unix.RTN_UNICAST, oif: 7, scope: unix.RT_SCOPE_LINK},
	} {
		got, ours := parseRoute(routeMessage(unix.RTM_NEWROUTE, 0, want).buf[unix.NLMSG_HDRLEN:])
		if !ours || got != want {
			t.Errorf("got %+v, %v, want %+v", got, ours, want)
		}
	}
}
