// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// universe is the plain oracle of free space: 16 addresses, taken or not.
type universe [16]bool

var small = netip.MustParsePrefix("10.0.0.0/28")

func at(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

func (u *universe) lowest(bits int) (netip.Prefix, bool) {
	n := 1 << (32 - bits)
	for from := 0; from+n <= 16; from += n {
		free := true
		for i := from; i < from+n; i++ {
			free = free && !u[i]
		}
		if free {
			return netip.PrefixFrom(at(from), bits), true
		}
	}
	return netip.Prefix{}, false
}

func (u *universe) fill(p netip.Prefix) {
	from := int(p.Addr().As4()[3])
	for i := range 1 << (32 - p.Bits()) {
		u[from+i] = true
	}
}

// TestSpaceExhaustive tries every sequence of up to six blocks of all sizes
// against the oracle: what is free, what is the lowest, what is left.
func TestSpaceExhaustive(t *testing.T) {
	sequences := 0
	var try func(depth int, u universe, taken []*Range, s *space)
	try = func(depth int, u universe, taken []*Range, s *space) {
		sequences++
		if depth == 0 {
			return
		}
		for bits := 28; bits <= 32; bits++ {
			want, wantOK := u.lowest(bits)
			fresh := freeSpace(small, taken, nil)
			if got, ok := fresh.take(bits); ok != wantOK || got != want {
				t.Fatalf("fresh: after %v, /%d: %v %t, want %v %t", ranges(taken), bits, got, ok, want, wantOK)
			}
			went := &space{gaps: append(s.gaps[:0:0], s.gaps...), from: map[int]int{}}
			for k, v := range s.from {
				went.from[k] = v
			}
			got, ok := went.take(bits)
			if ok != wantOK || got != want {
				t.Fatalf("kept: after %v, /%d: %v %t, want %v %t", ranges(taken), bits, got, ok, want, wantOK)
			}
			if !ok {
				continue
			}
			next := u
			next.fill(got)
			try(depth-1, next, append(taken[:len(taken):len(taken)], &Range{CIDR: got}), went)
		}
	}
	try(6, universe{}, nil, freeSpace(small, nil, nil))
	t.Logf("%d sequences", sequences)
}

func ranges(rs []*Range) (out []string) {
	for _, r := range rs {
		out = append(out, r.CIDR.String())
	}
	return out
}

// TestSpaceBothFamilies: what is taken is of the pool, aligned, and overlaps
// nothing, in IPv4 and IPv6, lowest first or at random.
func TestSpaceBothFamilies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := netip.MustParsePrefix(rapid.SampledFrom([]string{"10.32.0.0/12", "255.255.255.0/24", "fd00:10::/108", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120", "0.0.0.0/0", "::/0"}).Draw(t, "pool"))
		var taken []*Range
		refused := netip.Prefix{}
		s := freeSpace(pool, nil, func(p netip.Prefix) bool { return refused.IsValid() && p.Overlaps(refused) })
		for range rapid.IntRange(1, 30).Draw(t, "blocks") {
			bits := min(pool.Bits()+rapid.IntRange(0, 9).Draw(t, "longer"), pool.Addr().BitLen())
			var p netip.Prefix
			var ok bool
			if rapid.Bool().Draw(t, "lowest") {
				p, ok = s.take(bits)
			} else {
				p, ok = s.takeAny(bits, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "which") })
			}
			if !ok {
				continue
			}
			if p.Bits() != bits || p != p.Masked() || !pool.Contains(p.Addr()) {
				t.Fatalf("%s is no block of %d bits of %s", p, bits, pool)
			}
			if refused.IsValid() && p.Overlaps(refused) {
				t.Fatalf("%s is refused", p)
			}
			for _, r := range taken {
				if r.CIDR.Overlaps(p) {
					t.Fatalf("%s overlaps %s", p, r.CIDR)
				}
			}
			taken = append(taken, &Range{CIDR: p})
			if !refused.IsValid() && p.Addr().Next().IsValid() {
				if next := netip.PrefixFrom(p.Addr(), p.Bits()); rapid.Bool().Draw(t, "refuse") {
					refused = next // overlaps p only: changes nothing
				}
			}
			fresh := freeSpace(pool, taken, nil)
			if fmt.Sprint(fresh.gaps) != fmt.Sprint(s.gaps) {
				t.Fatalf("kept %v, fresh %v", s.gaps, fresh.gaps)
			}
		}
	})
}

// TestSize: no size overflows.
func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"10.32.0.0/14": 262144, "10.0.0.1/32": 1, "0.0.0.0/0": 1 << 32, "fd00::/104": 1 << 24, "::/0": 1 << 62} {
		if got := size(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

func FuzzRangeName(f *testing.F) {
	for _, seed := range []string{"10.40.0.0", "fd00-0010-0000-0000-0000-0000-0000-0000", "fd00::", "", "10.40.0.0/13", "0000-0000-0000-0000-0000-ffff-0a00-0000", "fe80--1%eth0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		a, err := ParseRangeName(name)
		if err != nil {
			return
		}
		if got := RangeName(netip.PrefixFrom(a, a.BitLen())); got != name {
			t.Fatalf("%q is read as %s, whose name is %q", name, a, got)
		}
	})
}
