// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/atlas"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
)

// mostArcs is into how many parts a ring is cut at most. On the page a 512th is
// two to three pixels long: what is thinner can be neither seen nor pointed at.
const mostArcs = 512

// mostOwners is how many owners a pool's legend names.
const mostOwners = 10

// Pool is one ring. Counts of a whole pool are decimal strings, as in a map.
type Pool struct {
	Name     string `json:"name"`
	CIDR     string `json:"cidr"`
	Window   string `json:"window"`
	Accepted bool   `json:"accepted"`
	Total    string `json:"total"`
	Owned    string `json:"owned"`
	Between  string `json:"between"`
	Free     string `json:"free"`
	Used     int64  `json:"used"`
	Ranges   int    `json:"ranges"`
	// Owners are the largest; Others is how many more there are.
	Owners []Owner `json:"owners"`
	Others int     `json:"others"`
	Arcs   []Arc   `json:"arcs"`
	// Signs are those that occur.
	Signs []Sign `json:"signs"`
}

// Sign is what a mark looks like, and what it means.
type Sign struct {
	Sign  string `json:"sign"`
	Means string `json:"means"`
}

// Owner is a line of a legend.
type Owner struct {
	Peer      string  `json:"peer"`
	Key       string  `json:"key"`
	Hue       int     `json:"hue"`
	Addresses int64   `json:"addresses"`
	Share     float64 `json:"share"`
	Used      int64   `json:"used"`
	Ranges    int     `json:"ranges"`
	State     string  `json:"state"`
}

// Arc is a part of a ring.
type Arc struct {
	CIDR  string  `json:"cidr"`
	Start float64 `json:"start"`
	Size  float64 `json:"size"`
	// Peer owns all of it; empty: nobody, or several do.
	Peer string  `json:"peer"`
	Key  string  `json:"key"`
	Hue  int     `json:"hue"`
	Fill float64 `json:"fill"`
	// Mark is what is to be known of it, Sign its sign, and Why the words.
	Mark string `json:"mark"`
	Sign string `json:"sign"`
	Why  string `json:"why"`
	Who  string `json:"who"`
	Use  string `json:"use"`
	// From and To are where it comes from and goes to, while it moves. To is
	// empty where it goes back to its pool.
	Moves bool   `json:"moves"`
	From  string `json:"from"`
	To    string `json:"to"`
}

func pool(of *atlas.Pool, keys *Keys) Pool {
	ring := of.Ring(mostArcs)
	p := Pool{
		Name: of.Name, CIDR: of.CIDR, Window: of.CIDR, Accepted: of.Accepted, Total: of.Total, Owned: of.Owned, Between: of.Between,
		Free: of.Free, Used: of.Used, Ranges: of.Ranges, Owners: []Owner{}, Arcs: []Arc{}, Signs: []Sign{},
		Others: max(0, len(of.Owners)-mostOwners),
	}
	if ring.Window.IsValid() {
		p.Window = ring.Window.String()
	}
	for _, o := range of.Owners[:min(mostOwners, len(of.Owners))] {
		line := Owner{Peer: o.Peer, Addresses: o.Addresses, Share: o.Share, Used: o.Used, Ranges: o.Ranges, State: string(o.State)}
		line.Key, line.Hue = keys.of(o.UID)
		p.Owners = append(p.Owners, line)
	}
	seen := map[atlas.Mark]bool{}
	for i := range ring.Arcs {
		p.Arcs = append(p.Arcs, arc(of, &ring.Arcs[i], keys))
		seen[ring.Arcs[i].Mark] = true
	}
	for _, m := range atlas.Marks() {
		if sign, means := display.Mark(m); seen[m] && sign != "" {
			p.Signs = append(p.Signs, Sign{sign, means})
		}
	}
	return p
}

func arc(of *atlas.Pool, drawn *atlas.Arc, keys *Keys) Arc {
	words := display.Arc(of, drawn)
	a := Arc{
		CIDR: drawn.CIDR.String(), Start: drawn.Start, Size: drawn.Size, Fill: drawn.Fill, Hue: several,
		Mark: string(drawn.Mark), Sign: words.Sign, Why: words.Why, Who: words.Who, Use: words.Use,
	}
	switch {
	case drawn.Owner == atlas.Nobody:
		a.Hue = nobodys
	case drawn.Owner >= 0:
		o := &of.Owners[drawn.Owner]
		a.Key, a.Hue = keys.of(o.UID)
		if drawn.Ranges == 1 {
			a.Peer = o.Peer
		}
	}
	if drawn.Piece != nil && drawn.Mark.Moves() {
		a.Moves, a.From, a.To = true, drawn.Piece.From, drawn.Piece.To
	}
	return a
}

// Hues that are nobody's own.
const (
	others = -1 - iota
	several
	nobodys
)

// hues is how many colours owners are told apart by. Letters go further.
const hues = 8

// Keys gives the largest owners letters and hues, and leaves them to whom they
// were given: a page on which everything changes colour at the very moment of a
// takeover would hide it.
type Keys struct {
	given map[types.UID]int
}

// NewKeys has given none.
func NewKeys() *Keys { return &Keys{given: map[types.UID]int{}} }

// give takes back the letters of those who own nothing any more, and gives what
// is there to the largest owners without one.
func (k *Keys) give(pools []atlas.Pool) {
	var free []int
	owns := map[types.UID]bool{}
	for i := range pools {
		for _, o := range pools[i].Owners {
			owns[o.UID] = true
		}
	}
	taken := map[int]bool{}
	for uid, n := range k.given {
		if !owns[uid] {
			delete(k.given, uid)
			continue
		}
		taken[n] = true
	}
	for n := range display.MaxOwners {
		if !taken[n] {
			free = append(free, n)
		}
	}
	for i := range pools {
		for _, o := range pools[i].Owners {
			if _, has := k.given[o.UID]; !has && len(free) > 0 {
				k.given[o.UID] = free[0]
				free = free[1:]
			}
		}
	}
}

// of is an owner's letter and hue.
func (k *Keys) of(uid types.UID) (string, int) {
	n, has := k.given[uid]
	if !has {
		return "", others
	}
	return string(rune('A' + n)), n % hues
}
