// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package atlas

import (
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// world draws some ranges of a /24 that do not overlap, each somebody's.
func world(t *rapid.T) *inventory.State {
	s := &inventory.State{Pools: []v1alpha1.AddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.0.0.0/24"}}}}
	base := netip.MustParseAddr("10.0.0.0").As4()
	for at := 0; at < 256; {
		bits := rapid.IntRange(0, 6).Draw(t, "size")
		for at%(1<<bits) != 0 {
			bits--
		}
		a := base
		a[3] = byte(at)
		at += 1 << bits
		owner := rapid.IntRange(0, 4).Draw(t, "owner")
		if owner == 4 {
			continue
		}
		r := v1alpha1.AddressRange{Spec: v1alpha1.AddressRangeSpec{Pool: "p", Epoch: 1, CIDR: netip.PrefixFrom(netip.AddrFrom4(a), 32-bits).String()}}
		if owner < 3 {
			name := fmt.Sprint("host", owner)
			r.Spec.Owner = &v1alpha1.PeerReference{Name: name, UID: types.UID(name)}
			r.Status.Used = int64(rapid.IntRange(0, 1<<bits).Draw(t, "used"))
		}
		s.Ranges = append(s.Ranges, r)
	}
	return s
}

// oracle says address by address who owns it.
func oracle(s *inventory.State) (owner [256]string, used [256]float64) {
	for _, r := range s.Ranges {
		p := netip.MustParsePrefix(r.Spec.CIDR)
		name := "-"
		if r.Spec.Owner != nil {
			name = r.Spec.Owner.Name
		}
		n := 1 << (32 - p.Bits())
		for i := range n {
			at := int(p.Addr().As4()[3]) + i
			owner[at], used[at] = name, float64(r.Status.Used)/float64(n)
		}
	}
	return owner, used
}

// Every cell of every cut says what counting its addresses one by one says.
func TestCellsAgreeWithCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := world(t)
		columns, rows := rapid.IntRange(1, 80).Draw(t, "columns"), rapid.IntRange(1, 8).Draw(t, "rows")
		pool := Draw(s)[0]
		g := pool.Cut(columns, rows)
		if g.Columns > columns || g.Rows() > rows {
			t.Fatalf("asked for %d×%d, got %d×%d", columns, rows, g.Columns, g.Rows())
		}
		owner, used := oracle(s)
		drawn := map[int]bool{}
		for i, cell := range g.Cells {
			p := g.CellAt(i)
			by, full, owned, nobodys := map[string]int{}, 0.0, 0, 0
			for n := range 1 << (32 - p.Bits()) {
				at := int(p.Addr().As4()[3]) + n
				drawn[at] = true
				switch owner[at] {
				case "":
				case "-":
					nobodys++
				default:
					by[owner[at]]++
					owned++
					full += used[at]
				}
			}
			want, fill := Free, 0.0
			switch {
			case owned > 0:
				want, fill = Several, full/float64(owned)
				for i, o := range pool.Owners {
					if by[o.Peer]*2 > owned {
						want = i
					}
				}
			case nobodys > 0:
				want = Nobody
			}
			if cell.Owner != want || math.Abs(cell.Fill-fill) > 1e-9 {
				t.Fatalf("%s: owner %d, fill %f; counted: %d, %f", p, cell.Owner, cell.Fill, want, fill)
			}
		}
		for at := range 256 {
			if owner[at] != "" && !drawn[at] {
				t.Fatalf("10.0.0.%d is %s's, and is not drawn in %s", at, owner[at], g.Window)
			}
		}
	})
}

// The sums are those of the addresses.
func TestSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := world(t)
		pool := Draw(s)[0]
		owner, _ := oracle(s)
		count := map[string]int64{}
		for _, o := range owner {
			count[o]++
		}
		owned := int64(0)
		for i, o := range pool.Owners {
			owned += o.Addresses
			if o.Addresses != count[o.Peer] {
				t.Fatalf("%s: %d, counted %d", o.Peer, o.Addresses, count[o.Peer])
			}
			if i > 0 && o.Addresses > pool.Owners[i-1].Addresses {
				t.Fatal("not the largest first")
			}
		}
		for what, pair := range map[string][2]string{
			"free": {pool.Free, fmt.Sprint(count[""])}, "between": {pool.Between, fmt.Sprint(count["-"])}, "owned": {pool.Owned, fmt.Sprint(owned)},
		} {
			if pair[0] != pair[1] {
				t.Fatalf("%s: %s, counted %s", what, pair[0], pair[1])
			}
		}
	})
}

// Ranges that are broken in any way are drawn without a panic: it is then
// that a person looks.
func TestBrokenRanges(t *testing.T) {
	for _, cidrs := range [][]string{
		{"10.0.0.0/24", "10.0.0.0/25", "10.0.0.0/32"}, {"10.0.0.0/8"}, {"192.168.0.0/24"}, {"fd00::/120"}, {"none"}, {"10.0.0.64/26", "192.168.0.0/32"},
		{"0.0.0.0/0", "::/0"},
	} {
		for _, of := range []string{"10.0.0.0/24", "fd00::/8", "10.0.0.1/32", "no pool"} {
			s := &inventory.State{Pools: []v1alpha1.AddressPool{{Spec: v1alpha1.AddressPoolSpec{CIDR: of}}}}
			for _, c := range cidrs {
				s.Ranges = append(s.Ranges, v1alpha1.AddressRange{Spec: v1alpha1.AddressRangeSpec{CIDR: c, Epoch: 1, Owner: &v1alpha1.PeerReference{Name: "a", UID: "a"}}})
			}
			pool := Draw(s)[0]
			if g := pool.Cut(64, 8); g != nil && !netip.MustParsePrefix(of).Contains(g.Window.Addr()) {
				t.Errorf("%s with %v: drawn %s", of, cidrs, g.Window)
			}
		}
	}
}

func TestPerCent(t *testing.T) {
	if PerCent(big.NewInt(1), big.NewInt(4)) != 25 || PerCent(big.NewInt(1), new(big.Int)) != 0 {
		t.Error("a part in per cent")
	}
}
