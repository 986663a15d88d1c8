// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

// twin is the slow, obvious ledger: lists, looked through from end to end. It
// does not foretell which address is next, only which may be.
type twin struct {
	ranges []addresses.Range
	held   map[addresses.Key][]netip.Addr
	closed bool
}

// mayGive reports whether a may be handed out now.
func (t *twin) mayGive(a netip.Addr) bool {
	for _, held := range t.held {
		if slices.Contains(held, a) {
			return false
		}
	}
	for _, r := range t.ranges {
		if !r.CIDR.Contains(a) {
			continue
		}
		return !slices.Contains(r.Withheld, a) && (r.Keep == nil || (r.Keep.IsValid() && r.Keep.Contains(a)))
	}
	return false
}

func (t *twin) families() (f addresses.Families) {
	for _, r := range t.ranges {
		f |= addresses.FamilyOf(r.CIDR.Addr())
	}
	return f
}

// free are the addresses of a family that may be handed out.
func (t *twin) free(f addresses.Families) (free []netip.Addr) {
	for _, r := range t.ranges {
		for a := r.CIDR.Addr(); r.CIDR.Contains(a); a = a.Next() {
			if addresses.FamilyOf(a) == f && t.mayGive(a) {
				free = append(free, a)
			}
		}
	}
	return free
}

func (t *twin) used(p netip.Prefix) (n int64) {
	seen := map[netip.Addr]bool{}
	for _, held := range t.held {
		for _, a := range held {
			if p.Contains(a) && !seen[a] {
				seen[a] = true
				n++
			}
		}
	}
	return n
}

// expect says whether a new attachment must be served, and whether a refusal
// is about what it asked for.
func (t *twin) expect(req addresses.Request) (ok, refused bool) {
	families := req.Families
	if families == 0 {
		families = t.families()
	}
	asked := addresses.Families(0)
	for _, a := range req.Want {
		if !t.mayGive(a) || asked&addresses.FamilyOf(a) != 0 {
			return false, true
		}
		asked |= addresses.FamilyOf(a)
	}
	if families|asked == 0 {
		return false, false
	}
	for _, f := range []addresses.Families{addresses.V4, addresses.V6} {
		if (families|asked)&f != 0 && len(t.free(f)) == 0 {
			return false, false
		}
	}
	return true, false
}

var universe = []string{
	"10.0.0.0/30", "10.0.0.0/29", "10.0.0.8/32", "10.0.0.16/29", "10.0.0.24/30", "10.1.0.0/29",
	"fd00::/126", "fd00::/125", "fd00::10/127", "fd00:1::/126",
}

func drawRanges(t *rapid.T) []addresses.Range {
	var ranges []addresses.Range
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(universe)-1), 0, 5, rapid.ID).Draw(t, "ranges") {
		cidr := netip.MustParsePrefix(universe[i])
		if slices.ContainsFunc(ranges, func(r addresses.Range) bool { return r.CIDR.Overlaps(cidr) }) {
			continue
		}
		r := addresses.Range{Name: universe[i], UID: cidr.Addr().String(), Pool: "p", CIDR: cidr, Epoch: 1}
		switch rapid.IntRange(0, 4).Draw(t, "keep") {
		case 0:
			r.Keep = &netip.Prefix{}
		case 1:
			keep := netip.PrefixFrom(cidr.Addr(), min(cidr.Bits()+1, cidr.Addr().BitLen()))
			r.Keep = &keep
		}
		for range rapid.IntRange(0, 2).Draw(t, "withheld") {
			if a := drawAddr(t); cidr.Contains(a) {
				r.Withheld = append(r.Withheld, a)
			}
		}
		ranges = append(ranges, r)
	}
	return ranges
}

func drawAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "v4") {
		return netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 1).Draw(t, "b")), 0, byte(rapid.IntRange(0, 31).Draw(t, "d"))})
	}
	a := netip.MustParseAddr("fd00::").As16()
	a[3], a[15] = byte(rapid.IntRange(0, 1).Draw(t, "net")), byte(rapid.IntRange(0, 17).Draw(t, "host"))
	return netip.AddrFrom16(a)
}

func drawKey(t *rapid.T) addresses.Key {
	return addresses.Key{
		Network: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "network"),
		Sandbox: fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "sandbox")),
		IfName:  rapid.SampledFrom([]string{"eth0", "net1"}).Draw(t, "interface"),
	}
}

// TestTwin drives the ledger and its twin through the same history.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, slow := addresses.NewLedger(), &twin{held: map[addresses.Key][]netip.Addr{}}
		l.SetGate(func() error {
			if slow.closed {
				return fmt.Errorf("closed")
			}
			return nil
		})
		t.Repeat(map[string]func(*rapid.T){
			"ranges": func(t *rapid.T) {
				slow.ranges = drawRanges(t)
				l.SetRanges(slow.ranges)
			},
			"gate":     func(t *rapid.T) { slow.closed = rapid.IntRange(0, 3).Draw(t, "closed") == 0 },
			"allocate": func(t *rapid.T) { stepAllocate(t, l, slow) },
			"release": func(t *rapid.T) {
				k := drawKey(t)
				if _, held := slow.held[k]; l.Release(k) != held {
					t.Fatalf("release of %s: held was %v", k, held)
				}
				delete(slow.held, k)
			},
			"hold": func(t *rapid.T) {
				k, a := drawKey(t), drawAddr(t)
				l.Hold(k, []netip.Addr{a})
				if !slices.Contains(slow.held[k], a) {
					slow.held[k] = append(slow.held[k], a)
				}
			},
			"": func(t *rapid.T) { compare(t, l, slow) },
		})
	})
}

func stepAllocate(t *rapid.T, l *addresses.Ledger, slow *twin) {
	k := drawKey(t)
	req := addresses.Request{Families: addresses.Families(rapid.IntRange(0, 3).Draw(t, "families"))}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2}).Draw(t, "want") {
		req.Want = append(req.Want, drawAddr(t))
	}
	got, err := l.Allocate(k, req)
	if slow.closed {
		if !addresses.IsSuspended(err) {
			t.Fatalf("the gate is closed: got %v, %v", got, err)
		}
		return
	}
	if had, repeated := slow.held[k]; repeated {
		for _, a := range req.Want {
			if !slices.Contains(had, a) {
				if !addresses.IsRefused(err) {
					t.Fatalf("%s holds %v, asked for %v: got %v, %v", k, had, req.Want, got, err)
				}
				return
			}
		}
		if err != nil || !sameSet(got, had) {
			t.Fatalf("repeated for %s: got %v, %v; had %v", k, got, err, had)
		}
		return
	}
	ok, refused := slow.expect(req)
	if ok != (err == nil) || refused != addresses.IsRefused(err) || (!ok && !refused) != addresses.IsExhausted(err) {
		t.Fatalf("%s, %+v: got %v, %v; expected ok %v, refused %v", k, req, got, err, ok, refused)
	}
	if !ok {
		return
	}
	var families addresses.Families
	for _, a := range got {
		if !slow.mayGive(a) || families&addresses.FamilyOf(a) != 0 {
			t.Fatalf("%s got %v: %s may not be given", k, got, a)
		}
		families |= addresses.FamilyOf(a)
	}
	for _, a := range req.Want {
		if !slices.Contains(got, a) {
			t.Fatalf("asked for %s, got %v", a, got)
		}
	}
	want := req.Families
	if want == 0 {
		want = slow.families()
	}
	if families&want != want {
		t.Fatalf("%s got %v, which is not an address in each of %s", k, got, want)
	}
	slow.held[k] = slices.Clone(got)
}

func compare(t *rapid.T, l *addresses.Ledger, slow *twin) {
	var capacity, used int64
	for _, r := range slow.ranges {
		if got, want := l.Used(r.Name), slow.used(r.CIDR); got != want {
			t.Fatalf("used of %s: %d, expected %d", r.Name, got, want)
		}
		if got, want := l.Idle(r.CIDR), slow.used(r.CIDR) == 0; got != want {
			t.Fatalf("idle of %s: %v, expected %v", r.Name, got, want)
		}
		used += slow.used(r.CIDR)
	}
	capacity = used + int64(len(slow.free(addresses.V4))+len(slow.free(addresses.V6)))
	if got := l.Pools()["p"]; got != (addresses.PoolUse{Used: used, Capacity: capacity}) {
		t.Fatalf("pool: %+v, expected %d of %d used", got, used, capacity)
	}
	if got := len(l.Keys()); got != len(slow.held) {
		t.Fatalf("%d attachments, expected %d", got, len(slow.held))
	}
	for k, had := range slow.held {
		if got := l.Lookup(k); !sameSet(got, had) {
			t.Fatalf("%s has %v, expected %v", k, got, had)
		}
	}
}

func sameSet(a, b []netip.Addr) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, netip.Addr.Compare)
	slices.SortFunc(b, netip.Addr.Compare)
	return slices.Equal(a, b)
}
