// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package atlas

import "net/netip"

// Grid is a part of a pool cut into cells of one size, each a CIDR, row by row.
type Grid struct {
	// Window is the part that is drawn: the pool, or, where that would hide
	// the ranges in a cell or two, the smallest CIDR that has them all.
	Window netip.Prefix
	// CellBits is the prefix length of a cell, Columns how many make a row.
	CellBits, Columns int
	Cells             []Cell
}

// Who owns a cell, if it is not one of the Owners.
const (
	// Free: no range is in it.
	Free = -1 - iota
	// Nobody: what is in it is nobody's.
	Nobody
	// Several: no owner has more than half of what is owned in it.
	Several
)

// Cell is a CIDR as it is drawn.
type Cell struct {
	// Owner is an index into the pool's Owners, or Free, Nobody or Several.
	Owner int
	// Fill is the used part of what is owned in it, 0 to 1.
	Fill float64
	Mark Mark
}

// CellAt is the CIDR of the i-th cell.
func (g *Grid) CellAt(i int) netip.Prefix {
	return netip.PrefixFrom(nth(g.Window.Addr(), g.CellBits, i), g.CellBits)
}

// Rows is how many rows there are.
func (g *Grid) Rows() int { return len(g.Cells) / g.Columns }

// Cut cuts a pool into at most rows rows of at most columns cells. Both are
// taken down to powers of two, so that a cell is a CIDR.
func (p *Pool) Cut(columns, rows int) *Grid {
	if !p.prefix.IsValid() {
		return nil
	}
	logColumns, logRows := log2(columns), log2(rows)
	g := &Grid{Window: p.window(logColumns)}
	top, most := g.Window.Bits(), g.Window.Addr().BitLen()
	// A row holds the whole window at least; more rows only as long as that
	// shows more, which ends where a cell is a range.
	g.CellBits = min(top+logColumns, most)
	g.Columns = 1 << (g.CellBits - top)
	g.CellBits = max(g.CellBits, min(p.finest(), top+logColumns+logRows, most))
	g.Cells = make([]Cell, 1<<(g.CellBits-top))
	for i := range g.Cells {
		g.Cells[i].Owner = Free
	}
	g.fill(p)
	return g
}

// finest is the longest prefix of a range.
func (p *Pool) finest() int {
	bits := 0
	for i := range p.pieces {
		bits = max(bits, p.pieces[i].prefix.Bits())
	}
	return bits
}

// window halves the pool as long as a cell of a single row would be coarser
// than the finest range, and all ranges lie in one half.
func (p *Pool) window(depth int) netip.Prefix {
	w := p.prefix
	finest := p.finest()
	for len(p.pieces) > 0 && w.Bits()+depth < finest {
		half, err := p.pieces[0].prefix.Addr().Prefix(w.Bits() + 1)
		if err != nil || !w.Contains(half.Addr()) || !p.within(half) {
			break
		}
		w = half
	}
	return w
}

func (p *Pool) within(w netip.Prefix) bool {
	for i := range p.pieces {
		if q := p.pieces[i].prefix; q.Bits() < w.Bits() || !w.Contains(q.Addr()) {
			return false
		}
	}
	return true
}

// part is what one owner has of a cell, as a part of the cell.
type part struct {
	owner int
	owned float64
}

// fill goes through the ranges, which are sorted by address: those that share
// a cell follow one another.
func (g *Grid) fill(p *Pool) {
	var parts []part
	used, last := 0.0, -1
	for i := range p.pieces {
		piece := &p.pieces[i]
		if !g.Window.Overlaps(piece.prefix) || piece.prefix.Bits() < g.Window.Bits() {
			continue // not of this pool; check tells of it
		}
		first := index(piece.prefix.Addr(), g.Window.Bits(), g.CellBits)
		if piece.prefix.Bits() <= g.CellBits {
			for n := range 1 << (g.CellBits - piece.prefix.Bits()) {
				g.Cells[first+n].put([]part{{piece.owner, 1}}, density(piece), piece.Mark)
			}
			continue
		}
		if first != last {
			parts, used, last = parts[:0], 0, first
		}
		weight := 1 / float64(uint64(1)<<min(63, piece.prefix.Bits()-g.CellBits))
		parts = add(parts, piece.owner, weight)
		used += weight * density(piece)
		g.Cells[first].put(parts, used/sum(parts), piece.Mark)
	}
}

// put draws what is known of a cell by now.
func (c *Cell) put(parts []part, fill float64, mark Mark) {
	c.Owner, c.Fill = Nobody, 0
	total, best := 0.0, part{owner: nobody}
	for _, p := range parts {
		if p.owner == nobody {
			continue
		}
		total += p.owned
		if p.owned > best.owned {
			best = p
		}
	}
	switch {
	case best.owner == nobody:
	case best.owned*2 > total:
		c.Owner = best.owner
	default:
		c.Owner = Several
	}
	if c.Owner != Nobody {
		c.Fill = min(1, fill)
	}
	if urgency[mark] > urgency[c.Mark] {
		c.Mark = mark
	}
}

func add(parts []part, owner int, owned float64) []part {
	for i := range parts {
		if parts[i].owner == owner {
			parts[i].owned += owned
			return parts
		}
	}
	return append(parts, part{owner, owned})
}

// sum is how much of a cell is owned; never 0, since it divides.
func sum(parts []part) float64 {
	total := 0.0
	for _, p := range parts {
		if p.owner != nobody {
			total += p.owned
		}
	}
	if total == 0 {
		return 1
	}
	return total
}

// density is the used part of a piece. A report may be older than a shrink.
func density(p *Piece) float64 {
	bits := p.prefix.Addr().BitLen() - p.prefix.Bits()
	if bits > 62 {
		return 0
	}
	return min(1, float64(p.Used)/float64(uint64(1)<<bits))
}

// index reads the bits of an address from one position to another.
func index(a netip.Addr, from, to int) int {
	raw := a.AsSlice()
	n := 0
	for b := from; b < to; b++ {
		n = n<<1 | int(raw[b/8]>>(7-b%8))&1
	}
	return n
}

// nth is the address of the i-th CIDR of that many bits from base on.
func nth(base netip.Addr, bits, i int) netip.Addr {
	raw := base.AsSlice()
	for b := bits - 1; i > 0 && b >= 0; b-- {
		if i&1 == 1 {
			raw[b/8] |= 1 << (7 - b%8)
		}
		i >>= 1
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// log2 is the exponent of the largest power of two that is not above n.
func log2(n int) int {
	l := 0
	for n > 1 {
		n >>= 1
		l++
	}
	return l
}
