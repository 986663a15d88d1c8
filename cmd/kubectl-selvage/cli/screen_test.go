// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
)

// What is drawn in place leaves nothing of the drawing before it, and does
// not scroll the terminal.
func TestFrame(t *testing.T) {
	got := frame("one\ntwo\n", 10)
	if want := toTop + "one" + clearRight + "\ntwo" + clearRight + "\n" + clearBelow; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = frame(strings.Repeat("x\n", 50), 10)
	if n := strings.Count(got, "\n"); n != 9 {
		t.Errorf("%d lines on a terminal of 10", n)
	}
	if !strings.Contains(got, "… 42 more lines") {
		t.Errorf("does not say what is left out: %q", got)
	}
}

// Where there is no terminal, each drawing that differs follows the last.
func TestPlainReprint(t *testing.T) {
	var b bytes.Buffer
	s := &screen{out: &b}
	for _, text := range []string{"one\n", "one\n", "two\n", "two\n", "one\n"} {
		if err := s.show(text); err != nil {
			t.Fatal(err)
		}
	}
	s.end()
	if want := "one\n\ntwo\n\none\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestWidth(t *testing.T) {
	for columns, want := range map[string]int{"": 80, "132": 132, "none": 80, "-1": 80} {
		t.Setenv("COLUMNS", columns)
		if width, height := measure(&bytes.Buffer{}); width != want || height != 0 {
			t.Errorf("COLUMNS=%q: %d×%d, want %d×0", columns, width, height, want)
		}
	}
}
