// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package atlas is the address space as a map: which part of a pool is whose,
// how full it is, and what of it is on the move. It is pure: from what was
// read to what can be drawn.
package atlas

import (
	"cmp"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Pool is one pool with its owners. Counts of a whole pool are decimal
// strings: those of IPv6 overflow 64 bits.
type Pool struct {
	Name     string `json:"name"`
	CIDR     string `json:"cidr"`
	Accepted bool   `json:"accepted"`
	Total    string `json:"total"`
	// Owned addresses belong to a peer, Between are those of ranges that
	// nobody owns (claimed, or returned and not yet free), Free is the rest.
	Owned   string `json:"owned"`
	Between string `json:"between"`
	Free    string `json:"free"`
	Used    int64  `json:"used"`
	Ranges  int    `json:"ranges"`
	// Owners are the peers that own a part, the largest first.
	Owners []Owner `json:"owners"`
	// Moving are the ranges that are not simply somebody's.
	Moving []Piece `json:"moving"`

	prefix netip.Prefix
	pieces []Piece
}

// Owner is one incarnation of a peer and its part of a pool.
type Owner struct {
	Peer      string    `json:"peer"`
	UID       types.UID `json:"uid"`
	Addresses int64     `json:"addresses"`
	// Share is the part of the pool in per cent.
	Share  float64 `json:"share"`
	Used   int64   `json:"used"`
	Ranges int     `json:"ranges"`
	// State says what is wrong or under way with the owner; empty: nothing.
	State OwnerState `json:"state,omitempty"`
}

// OwnerState is what is to be known about an owner.
type OwnerState string

// The states of an owner.
const (
	Well         OwnerState = ""
	Unreachable  OwnerState = "unreachable"
	Fencing      OwnerState = "fencing"
	Transferring OwnerState = "transferring"
	// Gone: there is no such incarnation, or it is removed.
	Gone OwnerState = "gone"
)

// Piece is one range as it is drawn.
type Piece struct {
	Range string `json:"range"`
	Mark  Mark   `json:"mark"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Used  int64  `json:"used"`
	// Reserved addresses are withheld while pods of a former owner carry them.
	Reserved int `json:"reserved,omitempty"`

	prefix netip.Prefix
	owner  int // index into Owners, or nobody
}

// nobody owns a piece.
const nobody = -1

// Draw makes the map of every pool.
func Draw(s *inventory.State) []Pool {
	known := census(s)
	byPool := map[string][]*v1alpha1.AddressRange{}
	for i := range s.Ranges {
		r := &s.Ranges[i]
		byPool[r.Spec.Pool] = append(byPool[r.Spec.Pool], r)
	}
	pools := make([]Pool, 0, len(s.Pools))
	for i := range s.Pools {
		pools = append(pools, draw(known, &s.Pools[i], byPool[s.Pools[i].Name]))
	}
	return pools
}

func draw(known *people, of *v1alpha1.AddressPool, ranges []*v1alpha1.AddressRange) Pool {
	p := Pool{
		Name: of.Name, CIDR: of.Spec.CIDR, Ranges: len(ranges), Owners: []Owner{}, Moving: []Piece{},
		Accepted: meta.IsStatusConditionTrue(of.Status.Conditions, v1alpha1.ConditionAccepted),
		prefix:   inventory.Prefix(of.Spec.CIDR),
	}
	total, owned, between := Size(p.prefix), new(big.Int), new(big.Int)
	at := map[types.UID]int{}
	for _, r := range ranges {
		piece := known.piece(r)
		if !piece.prefix.IsValid() {
			continue // the schema keeps these out; check tells of them
		}
		if r.Spec.Owner == nil {
			between.Add(between, Size(piece.prefix))
		} else {
			owned.Add(owned, Size(piece.prefix))
			piece.owner = p.give(known, at, r)
		}
		p.pieces = append(p.pieces, piece)
		if piece.Mark.Moves() {
			p.Moving = append(p.Moving, piece)
		}
	}
	free := new(big.Int).Sub(total, owned)
	p.Total, p.Owned, p.Between, p.Free = total.String(), owned.String(), between.String(), free.Sub(free, between).String()
	p.rank(total)
	slices.SortFunc(p.pieces, byAddress)
	slices.SortFunc(p.Moving, byAddress)
	return p
}

// give counts a range to its owner, by uid, and returns the owner's index.
func (p *Pool) give(known *people, at map[types.UID]int, r *v1alpha1.AddressRange) int {
	o := r.Spec.Owner
	i, found := at[o.UID]
	if !found {
		i = len(p.Owners)
		at[o.UID] = i
		p.Owners = append(p.Owners, Owner{Peer: o.Name, UID: o.UID, State: known.state(o)})
	}
	owner := &p.Owners[i]
	owner.Addresses += inventory.Size(r.Spec.CIDR)
	owner.Used += r.Status.Used
	owner.Ranges++
	p.Used += r.Status.Used
	return i
}

// rank sorts the owners, the largest first, and lets the pieces follow.
func (p *Pool) rank(total *big.Int) {
	order := make([]int, len(p.Owners))
	for i := range order {
		order[i] = i
		p.Owners[i].Share = PerCent(big.NewInt(p.Owners[i].Addresses), total)
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := &p.Owners[a], &p.Owners[b]
		return cmp.Or(cmp.Compare(y.Addresses, x.Addresses), strings.Compare(x.Peer, y.Peer), strings.Compare(string(x.UID), string(y.UID)))
	})
	ranked, place := make([]Owner, len(order)), make([]int, len(order))
	for to, from := range order {
		ranked[to], place[from] = p.Owners[from], to
	}
	p.Owners = ranked
	for i := range p.pieces {
		if p.pieces[i].owner != nobody {
			p.pieces[i].owner = place[p.pieces[i].owner]
		}
	}
}

func byAddress(a, b Piece) int {
	return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
}

// Size is how many addresses a prefix has.
func Size(p netip.Prefix) *big.Int {
	if !p.IsValid() {
		return new(big.Int)
	}
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
}

// PerCent is part of total in per cent; of nothing, it is 0.
func PerCent(part, total *big.Int) float64 {
	if total.Sign() == 0 {
		return 0
	}
	f, _ := new(big.Rat).SetFrac(new(big.Int).Mul(part, big.NewInt(100)), total).Float64()
	return f
}
