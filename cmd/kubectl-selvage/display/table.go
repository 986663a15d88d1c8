// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package display turns what was read into what is shown: pure functions from
// typed objects to tables and sentences. Colour is a property of a cell, and
// whether it is drawn is the writer's choice.
package display

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
)

// Style says what a cell means; a terminal draws it as a colour.
type Style int

// The styles.
const (
	Plain Style = iota
	Good
	Warn
	Bad
	Faint
	Strong
	// The hues mean nothing but to tell one from another.
	Blue
	Magenta
	Cyan
	BrightBlue
	BrightMagenta
	BrightCyan
)

var escapes = [...]string{
	Plain: "", Good: "\x1b[32m", Warn: "\x1b[33m", Bad: "\x1b[31m", Faint: "\x1b[2m", Strong: "\x1b[1m",
	Blue: "\x1b[34m", Magenta: "\x1b[35m", Cyan: "\x1b[36m", BrightBlue: "\x1b[94m", BrightMagenta: "\x1b[95m", BrightCyan: "\x1b[96m",
}

var hues = []Style{Cyan, Magenta, Blue, BrightCyan, BrightMagenta, BrightBlue}

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style Style
}

// Table is a header and rows. Empty cells are shown as <none>, as kubectl does,
// except in the last column, where there is nothing to keep in line.
type Table struct {
	Header []string
	Rows   [][]Cell
}

// Page is where tables and sentences are written.
type Page struct {
	io.Writer
	// Colour draws styles; off, they are left out.
	Colour bool
	// Now is the time that ages are counted to.
	Now time.Time
	// NoHeaders leaves table headers out.
	NoHeaders bool
}

// Style draws text in a style. Control characters are made visible: names and
// messages come from the cluster, and must not drive the terminal.
func (p *Page) Style(style Style, text string) string {
	text = printers.EscapeTerminal(text)
	if !p.Colour || escapes[style] == "" || text == "" {
		return text
	}
	return escapes[style] + text + "\x1b[0m"
}

// Line writes one line in a style.
func (p *Page) Line(style Style, format string, args ...any) error {
	_, err := fmt.Fprintln(p, p.Style(style, fmt.Sprintf(format, args...)))
	return err
}

// Table writes a table in columns, three spaces apart.
func (p *Page) Table(t Table) error {
	rows := t.Rows
	if !p.NoHeaders && len(t.Header) > 0 {
		head := make([]Cell, len(t.Header))
		for i, h := range t.Header {
			head[i] = Cell{h, Strong}
		}
		rows = append([][]Cell{head}, rows...)
	}
	widths := columns(rows)
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			last := i == len(row)-1
			line.WriteString(p.Style(c.Style, shown(c, last)))
			if !last {
				line.WriteString(strings.Repeat(" ", widths[i]-width(c, last)+3))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(p, b.String())
	return err
}

func columns(rows [][]Cell) []int {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(c, i == len(row)-1))
		}
	}
	return widths
}

func width(c Cell, last bool) int {
	return utf8.RuneCountInString(printers.EscapeTerminal(shown(c, last)))
}

func shown(c Cell, last bool) string {
	if c.Text == "" && !last {
		return "<none>"
	}
	return c.Text
}

// Age is how long ago t was, as kubectl writes it.
func (p *Page) Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(max(0, p.Now.Sub(t.Time)))
}

// plain makes unstyled cells.
func plain(texts ...string) []Cell {
	cells := make([]Cell, len(texts))
	for i, t := range texts {
		cells[i].Text = t
	}
	return cells
}
