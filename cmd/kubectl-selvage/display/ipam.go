// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"cmp"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// IPAM is who holds how much of each pool.
type IPAM struct {
	Pools []PoolShares `json:"pools"`
}

// PoolShares is one pool, divided. Counts of a whole pool are decimal strings:
// those of IPv6 overflow 64 bits.
type PoolShares struct {
	Pool     string  `json:"pool"`
	CIDR     string  `json:"cidr"`
	Accepted bool    `json:"accepted"`
	Total    string  `json:"total"`
	Free     string  `json:"free"`
	Shares   []Share `json:"shares"`
}

// Share is one peer's part of a pool; without a peer, it is nobody's.
type Share struct {
	Peer        string   `json:"peer,omitempty"`
	Addresses   int64    `json:"addresses"`
	Percent     float64  `json:"percent"`
	Used        int64    `json:"used"`
	Ranges      []string `json:"ranges"`
	Unreachable bool     `json:"unreachable,omitempty"`
	// Reserved addresses are withheld while pods of a former owner carry them.
	Reserved int    `json:"reserved,omitempty"`
	Note     string `json:"note,omitempty"`
}

// Shares divides every pool among its owners.
func Shares(s *inventory.State) IPAM {
	out := IPAM{Pools: []PoolShares{}}
	for i := range s.Pools {
		out.Pools = append(out.Pools, divide(s, &s.Pools[i]))
	}
	return out
}

func divide(s *inventory.State, pool *v1alpha1.AddressPool) PoolShares {
	total := count(inventory.Prefix(pool.Spec.CIDR))
	free := new(big.Int).Set(total)
	by := map[string]*Share{}
	for i := range s.Ranges {
		r := &s.Ranges[i]
		if r.Spec.Pool != pool.Name {
			continue
		}
		free.Sub(free, count(inventory.Prefix(r.Spec.CIDR)))
		share := shareOf(s, by, r)
		share.Addresses += inventory.Size(r.Spec.CIDR)
		share.Ranges = append(share.Ranges, r.Spec.CIDR)
		share.Reserved += len(r.Spec.Reserved)
		if r.Spec.Owner != nil {
			share.Used += r.Status.Used
		}
	}
	out := PoolShares{Pool: pool.Name, CIDR: pool.Spec.CIDR, Accepted: Accepted(pool), Total: total.String(), Free: free.String(), Shares: []Share{}}
	for _, share := range by {
		share.Percent = percent(big.NewInt(share.Addresses), total)
		out.Shares = append(out.Shares, *share)
	}
	slices.SortFunc(out.Shares, func(a, b Share) int {
		return cmp.Or(cmp.Compare(boolInt(a.Peer == ""), boolInt(b.Peer == "")), strings.Compare(a.Peer, b.Peer), strings.Compare(a.Note, b.Note))
	})
	return out
}

// shareOf finds the share that a range counts to: its owner's, by uid. Ranges
// of a former incarnation are shown apart.
func shareOf(s *inventory.State, by map[string]*Share, r *v1alpha1.AddressRange) *Share {
	key, fresh := "", Share{Note: unowned(r)}
	if r.Spec.Owner == nil {
		key = "/" + fresh.Note
	} else {
		key = string(r.Spec.Owner.UID)
		fresh = Share{Peer: r.Spec.Owner.Name}
		switch p := s.Peer(fresh.Peer); {
		case !s.Has(inventory.Peers):
		case p == nil || p.UID != r.Spec.Owner.UID:
			fresh.Unreachable, fresh.Note = true, "of a former "+fresh.Peer
		default:
			fresh.Unreachable, fresh.Note = Unreachable(s, p), note(p)
		}
	}
	if by[key] == nil {
		by[key] = &fresh
	}
	return by[key]
}

func unowned(r *v1alpha1.AddressRange) string {
	if r.Spec.Epoch == 0 {
		return "claimed, being granted"
	}
	return "returned, waiting for pods to go"
}

func note(p *v1alpha1.Peer) string {
	if phase := inventory.Phase(p); phase != v1alpha1.PhaseActive {
		return strings.ToLower(string(phase))
	}
	return ""
}

// IPAM shows the division as "weave status ipam" did: peer, addresses, share
// of the total, those in use, and who cannot be reached.
func (p *Page) IPAM(ipam IPAM, wide bool) error {
	if len(ipam.Pools) == 0 {
		return p.Line(Plain, "no address pools: create one, such as kubectl apply -f config/samples")
	}
	for i, pool := range ipam.Pools {
		if i > 0 {
			if _, err := fmt.Fprintln(p); err != nil {
				return err
			}
		}
		suffix := ""
		if !pool.Accepted {
			suffix = " (not accepted: nobody may draw from it)"
		}
		if err := p.Line(Strong, "pool %s %s: %s IPs%s", pool.Pool, pool.CIDR, pool.Total, suffix); err != nil {
			return err
		}
		if err := p.Table(shareTable(pool, wide)); err != nil {
			return err
		}
	}
	return nil
}

func shareTable(pool PoolShares, wide bool) Table {
	t := Table{Header: []string{"PEER", "ADDRESSES", "SHARE", "USED", "STATE"}}
	if wide {
		t.Header = append(t.Header, "RANGES")
	}
	add := func(wideText string, cells ...Cell) {
		if wide {
			cells = append(cells, Cell{Text: wideText})
		}
		t.Rows = append(t.Rows, cells)
	}
	for _, s := range pool.Shares {
		name, used := Cell{Text: s.Peer}, fmt.Sprintf("%d active", s.Used)
		if s.Peer == "" {
			name, used = Cell{"(nobody)", Faint}, "-"
		}
		add(strings.Join(s.Ranges, ","), name, Cell{Text: fmt.Sprintf("%d IPs", s.Addresses)},
			Cell{Text: share(s.Percent)}, Cell{Text: used}, state(s))
	}
	free, _ := new(big.Int).SetString(pool.Free, 10)
	total, _ := new(big.Int).SetString(pool.Total, 10)
	add("", Cell{"(free)", Faint}, Cell{Text: pool.Free + " IPs"}, Cell{Text: share(percent(free, total))}, Cell{Text: "-"}, Cell{Text: "-"})
	return t
}

func state(s Share) Cell {
	words := []string{}
	style := Plain
	if s.Note != "" {
		words, style = append(words, s.Note), Warn
	}
	if s.Unreachable {
		words, style = append(words, "unreachable!"), Bad
	}
	if s.Reserved > 0 {
		words = append(words, fmt.Sprintf("%d reserved", s.Reserved))
	}
	if len(words) == 0 {
		return Cell{"ok", Good}
	}
	return Cell{strings.Join(words, ", "), style}
}

// share writes a percentage as weave did: "25.0% of total".
func share(percent float64) string { return fmt.Sprintf("%.1f%% of total", percent) }

func count(p netip.Prefix) *big.Int {
	if !p.IsValid() {
		return big.NewInt(0)
	}
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
}

func percent(part, total *big.Int) float64 {
	if part == nil || total == nil || total.Sign() == 0 {
		return 0
	}
	f, _ := new(big.Rat).SetFrac(new(big.Int).Mul(part, big.NewInt(100)), total).Float64()
	return f
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
