// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// defaultWidth is taken where nothing says how wide the output is.
const defaultWidth = 80

// What a terminal does on these: ECMA-48, and DEC's private mode 25.
const (
	clearAll   = "\x1b[2J"
	toTop      = "\x1b[H"
	clearRight = "\x1b[K"
	clearBelow = "\x1b[J"
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
)

// measure is how wide and high the output is; height is 0 where there is no
// terminal. COLUMNS comes first, as in every program.
func measure(out io.Writer) (width, height int) {
	width = defaultWidth
	if f, ok := out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			width, height = w, h
		}
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		width = n
	}
	return width, height
}

// screen shows one text after another: in place on a terminal, else each that
// differs from the one before it.
type screen struct {
	out  io.Writer
	last string
}

func (s *screen) show(text string) error {
	_, height := measure(s.out)
	switch {
	case height > 0 && s.last == "":
		_, _ = io.WriteString(s.out, hideCursor+clearAll)
	case height == 0 && text == s.last:
		return nil
	case height == 0 && s.last != "":
		text = "\n" + text
	}
	s.last = strings.TrimPrefix(text, "\n")
	if height > 0 {
		text = frame(text, height)
	}
	_, err := io.WriteString(s.out, text)
	return err
}

// end leaves the terminal as it was, and the last text on it.
func (s *screen) end() {
	if _, height := measure(s.out); height > 0 && s.last != "" {
		_, _ = io.WriteString(s.out, showCursor)
	}
}

// frame draws over what is there, line by line, and never past the last line
// of the terminal: that would scroll.
func frame(text string, height int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if room := max(1, height-1); len(lines) > room {
		left := len(lines) - room + 1
		lines = append(lines[:room-1], fmt.Sprintf("… %d more lines: make the terminal higher, or take --rows or --owners down", left))
	}
	return toTop + strings.Join(lines, clearRight+"\n") + clearRight + "\n" + clearBelow
}
