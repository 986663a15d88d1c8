// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"cmp"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/atlas"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Map is the address space: pools, their owners, and what is on the move.
type Map struct {
	Pools    []atlas.Pool  `json:"pools"`
	Removals []RemovalLine `json:"removals"`
	// Unread lists the parts that could not be read, and why.
	Unread map[string]string `json:"unread,omitempty"`
}

// Canvas is what a map is drawn on.
type Canvas struct {
	// Width is that of the terminal, in characters.
	Width int
	// Rows is how many a pool may take, and Owners how many are named.
	Rows, Owners int
}

// MaxOwners is how many owners have a letter of their own at most.
const MaxOwners = 26

// most is how many lines a list of what is on the move takes.
const most = 10

// Chart makes the map of a state.
func Chart(s *inventory.State) Map {
	m := Map{Pools: atlas.Draw(s), Removals: []RemovalLine{}, Unread: map[string]string{}}
	for _, r := range s.UnderWay() {
		m.Removals = append(m.Removals, RemovalLine{Removal: r, State: Progress(&r), Next: Hint(&r)})
	}
	for part, err := range s.Unread {
		m.Unread[string(part)] = err.Error()
	}
	return m
}

// Map draws a map.
func (p *Page) Map(m Map, on Canvas) error {
	if len(m.Pools) == 0 {
		return p.Line(Plain, "no address pools: create one, such as kubectl apply -f config/samples")
	}
	for i := range m.Pools {
		if i > 0 {
			if _, err := fmt.Fprintln(p); err != nil {
				return err
			}
		}
		if err := p.pool(&m.Pools[i], on); err != nil {
			return err
		}
	}
	removals := m.Removals
	if len(removals) > most {
		removals = removals[:most]
	}
	if err := p.removalLines(Overview{Removals: removals}); err != nil {
		return err
	}
	if n := len(m.Removals) - len(removals); n > 0 {
		if err := p.Line(Warn, "\nand %s more: kubectl selvage status", plural(n, "removal")); err != nil {
			return err
		}
	}
	return p.unread(m.Unread)
}

func (p *Page) pool(pool *atlas.Pool, on Canvas) error {
	suffix := ""
	if !pool.Accepted {
		suffix = " (not accepted: nobody may draw from it)"
	}
	total, owned, free := number(pool.Total), number(pool.Owned), number(pool.Free)
	if err := p.Line(Strong, "pool %s %s: %s IPs, %.1f%% owned, %.1f%% free, %d in use by %s%s", pool.Name, pool.CIDR, pool.Total,
		atlas.PerCent(owned, total), atlas.PerCent(free, total), pool.Used, plural(len(pool.Owners), "peer"), suffix); err != nil {
		return err
	}
	on.Owners = min(on.Owners, MaxOwners)
	if err := p.grid(pool, on); err != nil {
		return err
	}
	if err := p.Table(p.legend(pool, on)); err != nil {
		return err
	}
	return p.moving(pool.Moving)
}

// legend names the largest owners, and sums up the others.
func (p *Page) legend(pool *atlas.Pool, on Canvas) Table {
	t := Table{Header: []string{"KEY", "PEER", "ADDRESSES", "SHARE", "USED", "FULL", "RANGES", "STATE"}}
	total := number(pool.Total)
	others, states := atlas.Owner{}, map[atlas.OwnerState]int{}
	for i, o := range pool.Owners {
		if i < on.Owners {
			t.Rows = append(t.Rows, ownerRow(key(i), o.Peer, o, ownerState(o.State)))
			continue
		}
		others.Addresses += o.Addresses
		others.Used += o.Used
		others.Ranges += o.Ranges
		states[o.State]++
	}
	if n := len(pool.Owners) - on.Owners; n > 0 {
		others.Share = atlas.PerCent(big.NewInt(others.Addresses), total)
		t.Rows = append(t.Rows, ownerRow(Cell{"o", Plain}, fmt.Sprintf("(%d others)", n), others, mixed(states)))
	}
	nobodys := func(glyph, name, addresses string) {
		share := fmt.Sprintf("%.1f%%", atlas.PerCent(number(addresses), total))
		t.Rows = append(t.Rows, append([]Cell{{glyph, Faint}, {name, Faint}}, plain(addresses, share, "-", "-", "-", "")...))
	}
	if pool.Between != "0" {
		nobodys("-", "(nobody)", pool.Between)
	}
	nobodys(".", "(free)", pool.Free)
	return t
}

func ownerRow(k Cell, name string, o atlas.Owner, state Cell) []Cell {
	full := 0.0
	if o.Addresses > 0 {
		full = float64(o.Used) / float64(o.Addresses)
	}
	return append([]Cell{k, {Text: name}}, append(plain(fmt.Sprint(o.Addresses), fmt.Sprintf("%.1f%%", o.Share), fmt.Sprint(o.Used)),
		Cell{fmt.Sprintf("%.1f%%", 100*full), fullness(full)}, Cell{Text: fmt.Sprint(o.Ranges)}, state)...)
}

func ownerState(s atlas.OwnerState) Cell {
	switch s {
	case atlas.Well:
		return Cell{"ok", Good}
	case atlas.Unreachable:
		return Cell{"unreachable!", Bad}
	case atlas.Gone:
		return Cell{"no peer any more", Bad}
	}
	return Cell{string(s), Warn}
}

func mixed(states map[atlas.OwnerState]int) Cell {
	words, style := []string{}, Good
	for _, s := range []atlas.OwnerState{atlas.Gone, atlas.Unreachable, atlas.Transferring, atlas.Fencing} {
		if n := states[s]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, ownerState(s).Text))
			style = max(style, ownerState(s).Style)
		}
	}
	if len(words) == 0 {
		return Cell{"ok", Good}
	}
	return Cell{strings.Join(words, ", "), style}
}

// journey is what ranges on the same way have in common.
type journey struct {
	mark     atlas.Mark
	from, to string
}

// moving tells the ranges that are on the move, those on the same way in one
// line.
func (p *Page) moving(pieces []atlas.Piece) error {
	first := map[journey]atlas.Piece{}
	ranges, addresses, reserved := map[journey]int{}, map[journey]int64{}, map[journey]int{}
	var order []journey
	for _, piece := range pieces {
		j := journey{piece.Mark, piece.From, piece.To}
		if ranges[j] == 0 {
			first[j], order = piece, append(order, j)
		}
		ranges[j]++
		addresses[j] += inventory.Size(piece.Range)
		reserved[j] += piece.Reserved
	}
	slices.SortStableFunc(order, func(a, b journey) int { return cmp.Compare(rank(b.mark), rank(a.mark)) })
	for i, j := range order {
		if i == most {
			return p.Line(Warn, "  and %d more such lines: kubectl selvage map -o json", len(order)-most)
		}
		which := first[j].Range
		if ranges[j] > 1 {
			which = fmt.Sprintf("%s and %d more", which, ranges[j]-1)
		}
		text := fmt.Sprintf("%s %s (%d IPs) %s", glyphs[j.mark].Text, which, addresses[j], j.sentence())
		if reserved[j] > 0 {
			text += fmt.Sprintf("; pods still have %d of them", reserved[j])
		}
		if err := p.Line(glyphs[j.mark].Style, "%s", text); err != nil {
			return err
		}
	}
	return nil
}

func (j journey) sentence() string {
	to := "back to its pool"
	if j.to != "" {
		to = "to " + j.to
	}
	switch j.mark {
	case atlas.Claimed:
		return "claimed, being granted"
	case atlas.Returned:
		return strings.TrimSuffix("returned by "+j.from, " by ") + ", waiting for pods to go"
	case atlas.AskedBack:
		return "asked back from " + j.from
	case atlas.Sealed:
		return "sealed by " + j.from + ": on its way " + to
	case atlas.Leaving:
		return "of " + j.from + ", whose removal is under way; goes " + to
	case atlas.InTransfer:
		return "in transfer " + strings.TrimPrefix(fmt.Sprintf("from %s %s", j.from, to), "from  ")
	case atlas.Orphaned:
		return "of " + j.from + ", which is no peer any more"
	}
	return string(j.mark)
}

func rank(m atlas.Mark) int { return slices.Index(atlas.Marks(), m) }

func (p *Page) unread(parts map[string]string) error {
	lines := make([]string, 0, len(parts))
	for part, why := range parts {
		lines = append(lines, fmt.Sprintf("! not shown: %s: %s", part, why))
	}
	slices.Sort(lines)
	for _, l := range lines {
		if err := p.Line(Warn, "%s", l); err != nil {
			return err
		}
	}
	return nil
}

func number(decimal string) *big.Int {
	n, ok := new(big.Int).SetString(decimal, 10)
	if !ok {
		return new(big.Int)
	}
	return n
}

// grid draws a pool: a row of owners, and below it how full each cell is, or,
// if something is to be known of it, its mark.
func (p *Page) grid(pool *atlas.Pool, on Canvas) error {
	g, label := p.cut(pool, on)
	if g == nil {
		return nil
	}
	seen := map[atlas.Mark]bool{}
	several := false
	for row := range g.Rows() {
		cells := g.Cells[row*g.Columns : (row+1)*g.Columns]
		top, bottom := make([]Cell, len(cells)), make([]Cell, len(cells))
		for i, c := range cells {
			top[i], bottom[i] = p.owner(c, on.Owners), fill(c)
			seen[c.Mark] = true
			several = several || c.Owner == atlas.Several
		}
		name := g.CellAt(row * g.Columns).Addr().String()
		line := name + strings.Repeat(" ", label-len(name)) + p.run(top) + "\n"
		if below := p.run(bottom); strings.TrimSpace(below) != "" {
			line += strings.Repeat(" ", label) + strings.TrimRight(below, " ") + "\n"
		}
		if _, err := io.WriteString(p, line); err != nil {
			return err
		}
	}
	return p.caption(pool, g, seen, several, on.Width)
}

// cut finds out how wide the addresses at the left are, which depends on the
// cut, which depends on what they leave.
func (p *Page) cut(pool *atlas.Pool, on Canvas) (*atlas.Grid, int) {
	label := 0
	for {
		g := pool.Cut(max(minColumns, on.Width-label), max(1, on.Rows))
		if g == nil {
			return nil, 0
		}
		need := 0
		for row := range g.Rows() {
			need = max(need, len(g.CellAt(row*g.Columns).Addr().String())+2)
		}
		if need <= label {
			return g, label
		}
		label = need
	}
}

// minColumns are drawn however narrow the terminal.
const minColumns = 8
