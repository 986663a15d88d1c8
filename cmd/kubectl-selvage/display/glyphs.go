// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/atlas"
)

// glyphs are what marks look like, and how urgent they are.
var glyphs = map[atlas.Mark]Cell{
	atlas.Claimed:    {"+", Faint},
	atlas.Returned:   {"-", Faint},
	atlas.AskedBack:  {"<", Warn},
	atlas.Sealed:     {"=", Warn},
	atlas.Leaving:    {"~", Warn},
	atlas.InTransfer: {">", Warn},
	atlas.Silent:     {"!", Bad},
	atlas.Orphaned:   {"?", Bad},
}

// words are the marks as the caption explains them.
var words = map[atlas.Mark]string{
	atlas.Claimed:    "being granted",
	atlas.Returned:   "returned",
	atlas.AskedBack:  "asked back",
	atlas.Sealed:     "sealed",
	atlas.Leaving:    "its owner is being removed",
	atlas.InTransfer: "in transfer",
	atlas.Silent:     "its owner is unreachable",
	atlas.Orphaned:   "its owner is no peer any more",
}

// levels are an empty owned cell, and eight steps of one in use.
var levels = []rune("·▁▂▃▄▅▆▇█")

// key is the letter of the i-th owner, in a hue of its own.
func key(i int) Cell { return Cell{string(rune('A' + i)), hues[i%len(hues)]} }

func (p *Page) owner(c atlas.Cell, named int) Cell {
	switch {
	case c.Owner == atlas.Free:
		return Cell{".", Faint}
	case c.Owner == atlas.Nobody:
		return Cell{"-", Faint}
	case c.Owner == atlas.Several:
		return Cell{"#", Plain}
	case c.Owner < named:
		return key(c.Owner)
	}
	return Cell{"o", Plain}
}

func fill(c atlas.Cell) Cell {
	if glyph, marked := glyphs[c.Mark]; marked {
		return glyph
	}
	if c.Owner < 0 && c.Owner != atlas.Several {
		return Cell{" ", Plain}
	}
	level := 0
	if c.Fill > 0 {
		level = min(len(levels)-1, 1+int(c.Fill*float64(len(levels)-1)))
	}
	return Cell{string(levels[level]), fullness(c.Fill)}
}

// fullness is how worrying it is that a part is used.
func fullness(part float64) Style {
	switch {
	case part >= 0.9:
		return Bad
	case part >= 0.75:
		return Warn
	}
	return Good
}

// run draws cells side by side, those of one style in one go.
func (p *Page) run(cells []Cell) string {
	var b strings.Builder
	for from := 0; from < len(cells); {
		to, text := from, strings.Builder{}
		for to < len(cells) && cells[to].Style == cells[from].Style {
			text.WriteString(cells[to].Text)
			to++
		}
		b.WriteString(p.Style(cells[from].Style, text.String()))
		from = to
	}
	return b.String()
}

// caption explains a grid: the size of a cell, what is left out, and the
// signs that occur in it.
func (p *Page) caption(pool *atlas.Pool, g *atlas.Grid, seen map[atlas.Mark]bool, several bool, width int) error {
	said := []string{fmt.Sprintf("a cell: %s IPs (/%d)", atlas.Size(g.CellAt(0)), g.CellBits), "below it, how full: " + string(levels)}
	if several {
		said = append(said, "# several peers")
	}
	for _, m := range atlas.Marks() {
		if seen[m] && m != atlas.AtRest {
			said = append(said, glyphs[m].Text+" "+words[m])
		}
	}
	if g.Window.String() != pool.CIDR {
		said = append(said, fmt.Sprintf("only %s is drawn", g.Window), "nothing else is given out")
	}
	for _, line := range wrap(said, "; ", width) {
		if err := p.Line(Faint, "%s", line); err != nil {
			return err
		}
	}
	return nil
}

// wrap joins what is said into lines of at most width, as far as that goes.
func wrap(said []string, by string, width int) []string {
	lines := said[:1]
	for _, s := range said[1:] {
		last := &lines[len(lines)-1]
		if utf8.RuneCountInString(*last+by+s) > width {
			lines = append(lines, s)
			continue
		}
		*last += by + s
	}
	return lines
}
