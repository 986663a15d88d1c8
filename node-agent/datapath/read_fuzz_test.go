// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// FuzzElements: elements of nftables sets, which anybody with the right may
// write, are read into prefixes and addresses that are valid, or left out; and
// those that we write are read as what they are.
func FuzzElements(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 11, 0, 0, 0}, false, true)
	f.Add([]byte{10, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 10, 0, 0, 255, 2, 0, 0, 0, 0, 1, 0, 0}, false, false)
	f.Add(make([]byte, 64), true, true)
	f.Fuzz(func(t *testing.T, data []byte, six, ends bool) {
		for _, size := range []int{4, 16, 12, 24, 5} {
			var elements []nftables.SetElement
			for chunk := range slices.Chunk(data, size) {
				e := nftables.SetElement{Key: chunk, IntervalEnd: ends && len(elements)%2 == 1}
				if len(elements) > 0 {
					e.KeyEnd = elements[len(elements)-1].Key
				}
				elements = append(elements, e)
			}
			var read filter
			for _, name := range []string{peersSet, poolsSet, directSet} {
				read.take(name, six, slices.Clone(elements))
			}
			for _, p := range read.pools {
				if !p.IsValid() {
					t.Fatalf("a pool that is none, of %v", elements)
				}
			}
			for _, d := range read.direct {
				if !d.from.IsValid() {
					t.Fatalf("a source that is none, of %v", elements)
				}
			}
			_ = merged(read.pools)
		}
		written, ok := filterOf(data, six)
		if !ok {
			return
		}
		var read filter
		for _, name := range []string{peersSet, poolsSet, directSet} {
			read.take(name, six, written.elements(name, six))
		}
		if !slices.Equal(read.peers, written.peers) || !slices.Equal(merged(read.pools), written.pools) || !slices.Equal(read.direct, written.direct) {
			t.Errorf("wrote %+v, and read %+v", written, read)
		}
	})
}

// filterOf makes a filter of data: an address, prefixes and a source.
func filterOf(data []byte, six bool) (f filter, ok bool) {
	size := map[bool]int{false: 4, true: 16}[six]
	for chunk := range slices.Chunk(data, size+1) {
		if len(chunk) <= size {
			break
		}
		a, _ := netip.AddrFromSlice(chunk[:size])
		p := netip.PrefixFrom(a, int(chunk[size])%(a.BitLen()+1)).Masked()
		if a.Is4In6() || f.peers != nil && slices.Contains(f.peers, a) {
			return f, false
		}
		f.peers, f.pools = append(f.peers, a), append(f.pools, p)
	}
	if f.pools = merged(f.pools); len(f.pools) > 0 {
		f.direct = []directSource{{from: f.pools[0], mac: "02:00:00:00:00:01"}}
	}
	return f, len(f.peers) > 0
}

// FuzzRouteMessages: what a message says is what its parser reads.
func FuzzRouteMessages(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0}, byte(8), []byte{10, 1, 0, 1}, []byte{10, 0, 0, 1}, uint32(7), uint32(0), true, false)
	f.Add(addrs("fd00::")[0].AsSlice(), byte(8), addrs("fe80::1")[0].AsSlice(), []byte{}, uint32(7), uint32(5), false, false)
	f.Add(addrs("fd00::")[0].AsSlice(), byte(8), []byte{}, []byte{}, uint32(0), uint32(blackholeMetric), false, true)
	f.Fuzz(func(t *testing.T, dst []byte, bits byte, via, src []byte, oif, metric uint32, onlink, blackhole bool) {
		to, ok := netip.AddrFromSlice(dst)
		if !ok || to.Is4In6() || oif > 1<<30 || metric > 1<<30 {
			return
		}
		want := routeSpec{dst: netip.PrefixFrom(to, int(bits)%(to.BitLen()+1)).Masked(), kind: unix.RTN_UNICAST, oif: int(oif), metric: int(metric), onlink: onlink}
		if a, ok := netip.AddrFromSlice(via); ok && !a.Is4In6() && (a.Is6() || to.Is4()) {
			want.via = a
		}
		if a, ok := netip.AddrFromSlice(src); ok && a.Is6() == to.Is6() && !a.Is4In6() {
			want.src = a
		}
		if blackhole {
			want = routeSpec{dst: want.dst, kind: unix.RTN_BLACKHOLE, metric: want.metric}
		}
		got, ours := parseRoute(routeMessage(unix.RTM_NEWROUTE, 0, want).buf[unix.NLMSG_HDRLEN:])
		if !ours || got != want {
			t.Errorf("got %+v, %v, want %+v", got, ours, want)
		}
	})
}
