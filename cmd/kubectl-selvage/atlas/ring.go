// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package atlas

import (
	"math"
	"net/netip"
	"slices"
)

// Ring is a pool bent to a circle, its first address at the top.
type Ring struct {
	// Window is the part that is drawn, as for a Grid.
	Window netip.Prefix
	Arcs   []Arc
}

// Arc is a part of the ring: a range, or, where ranges are too small to be
// told apart, the CIDR that a few of them share.
type Arc struct {
	CIDR netip.Prefix
	// Start and Size are parts of the circle.
	Start, Size float64
	// Owner is an index into the pool's Owners, or Nobody or Several.
	Owner int
	// Fill is the used part of what is owned in it, 0 to 1.
	Fill float64
	Mark Mark
	// Piece is the range, where the arc is one, and nil where it has several.
	Piece *Piece
	// Ranges is how many ranges it has, of Peers, the first few by address;
	// Used is how many of their addresses are.
	Ranges int
	Peers  []string
	Used   int64
}

// MostNamed is how many peers of an arc are named; one more says that there are others.
const MostNamed = 5

// Ring draws the pool as a circle of which no arc is smaller than a part of
// most, a power of two.
func (p *Pool) Ring(most int) Ring {
	g := p.Cut(most, 1)
	if g == nil {
		return Ring{}
	}
	r := Ring{Window: g.Window}
	for i := 0; i < len(p.pieces); {
		piece := &p.pieces[i]
		if !g.Window.Overlaps(piece.prefix) || piece.prefix.Bits() < g.Window.Bits() {
			i++ // not of this pool; check tells of it
			continue
		}
		if piece.prefix.Bits() <= g.CellBits {
			r.Arcs = append(r.Arcs, p.arc(g, piece))
			i++
			continue
		}
		cell := index(piece.prefix.Addr(), g.Window.Bits(), g.CellBits)
		end := i + 1
		for end < len(p.pieces) && g.CellAt(cell).Contains(p.pieces[end].prefix.Addr()) && p.pieces[end].prefix.Bits() > g.CellBits {
			end++
		}
		r.Arcs = append(r.Arcs, p.shared(g, cell, p.pieces[i:end]))
		i = end
	}
	return r
}

// arc is that of one range.
func (p *Pool) arc(g *Grid, piece *Piece) Arc {
	a := Arc{CIDR: piece.prefix, Owner: piece.owner, Mark: piece.Mark, Piece: piece, Ranges: 1, Used: piece.Used, Fill: density(piece)}
	if a.Owner == nobody {
		a.Owner = Nobody
	} else {
		a.Peers = []string{p.Owners[a.Owner].Peer}
	}
	a.place(g)
	return a
}

// shared is that of a cell with ranges smaller than itself.
func (p *Pool) shared(g *Grid, cell int, pieces []Piece) Arc {
	if len(pieces) == 1 {
		a := p.arc(g, &pieces[0])
		a.CIDR = g.CellAt(cell)
		a.place(g)
		a.CIDR = pieces[0].prefix
		return a
	}
	c := g.Cells[cell]
	a := Arc{CIDR: g.CellAt(cell), Owner: c.Owner, Fill: c.Fill, Mark: c.Mark, Ranges: len(pieces)}
	for i := range pieces {
		a.Used += pieces[i].Used
		if pieces[i].owner == nobody || len(a.Peers) > MostNamed {
			continue
		}
		if name := p.Owners[pieces[i].owner].Peer; !slices.Contains(a.Peers, name) {
			a.Peers = append(a.Peers, name)
		}
	}
	a.place(g)
	return a
}

// place says where on the circle the arc's CIDR lies.
func (a *Arc) place(g *Grid) {
	const exact = 52 // bits of a float64's fraction
	top := g.Window.Bits()
	to := min(a.CIDR.Bits(), top+exact)
	a.Start = float64(index(a.CIDR.Addr(), top, to)) / math.Exp2(float64(to-top))
	a.Size = math.Exp2(float64(top - a.CIDR.Bits()))
}
