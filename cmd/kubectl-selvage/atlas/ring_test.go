// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package atlas

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Every arc of every ring says what counting its addresses one by one says;
// none is thinner than asked for, and no two overlap.
func TestArcsAgreeWithCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := world(t)
		most := rapid.IntRange(1, 300).Draw(t, "most")
		pool := Draw(s)[0]
		ring := pool.Ring(most)
		owner, used := oracle(s)
		drawn, at, ranges := map[int]bool{}, 0.0, 0
		for _, a := range ring.Arcs {
			ranges += a.Ranges
			if a.Start < at || a.Start+a.Size > 1 || a.Size*float64(most) < 1 && a.Size*256 > 1 {
				t.Fatalf("%s: from %f, %f of the circle; the last one ended at %f", a.CIDR, a.Start, a.Size, at)
			}
			at = a.Start + a.Size
			by, full, owned := map[string]int{}, 0.0, 0
			for n := range 1 << (32 - a.CIDR.Bits()) {
				i := int(a.CIDR.Addr().As4()[3]) + n
				drawn[i] = true
				if owner[i] != "" && owner[i] != "-" {
					by[owner[i]]++
					owned++
					full += used[i]
				}
			}
			want := Nobody
			if owned > 0 {
				want, full = Several, full/float64(owned)
			}
			for i, o := range pool.Owners {
				if owned > 0 && by[o.Peer]*2 > owned {
					want = i
				}
			}
			if a.Owner != want || math.Abs(a.Fill-full) > 1e-9 || len(a.Peers) != len(by) {
				t.Fatalf("%s: owner %d, fill %f, of %v; counted: %d, %f, %v", a.CIDR, a.Owner, a.Fill, a.Peers, want, full, by)
			}
			if (a.Piece != nil) != (a.Ranges == 1) {
				t.Fatalf("%s: %d ranges, %v", a.CIDR, a.Ranges, a.Piece)
			}
		}
		if ranges != len(s.Ranges) {
			t.Fatalf("%d ranges are drawn, of %d", ranges, len(s.Ranges))
		}
		for i := range 256 {
			if owner[i] != "" && !drawn[i] {
				t.Fatalf("10.0.0.%d is %s's, and is not drawn", i, owner[i])
			}
		}
	})
}

// What lies outside a pool is left out, and what overlaps is drawn.
func TestBrokenRings(t *testing.T) {
	for _, of := range []string{"10.0.0.0/24", "fd00::/8", "10.0.0.1/32", "no pool"} {
		s := &inventory.State{Pools: []v1alpha1.AddressPool{{Spec: v1alpha1.AddressPoolSpec{CIDR: of}}}}
		for _, c := range []string{"10.0.0.0/24", "10.0.0.0/25", "10.0.0.0/32", "10.0.0.64/26", "192.168.0.0/32", "0.0.0.0/0", "::/0", "fd00::/120", "none"} {
			s.Ranges = append(s.Ranges, v1alpha1.AddressRange{Spec: v1alpha1.AddressRangeSpec{CIDR: c}})
		}
		for _, a := range Draw(s)[0].Ring(64).Arcs {
			if a.Start < 0 || a.Start+a.Size > 1+1e-9 || !slices.ContainsFunc(s.Ranges, func(r v1alpha1.AddressRange) bool { return inventory.Prefix(r.Spec.CIDR).Overlaps(a.CIDR) }) {
				t.Errorf("%s: %+v", of, a)
			}
		}
	}
}
