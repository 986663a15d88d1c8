// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// step is one event of the story. run returns what was seen; an error is what
// was seen instead.
type step struct {
	title   string
	does    string
	expects string
	run     func(ctx context.Context, say *scribe) (saw string, err error)
}

type story struct {
	out    io.Writer
	number int
}

func (s *story) play(ctx context.Context, steps []step) error {
	for _, st := range steps {
		s.number++
		say := &scribe{out: s.out}
		fmt.Fprintf(s.out, "\n%d. %s\n", s.number, st.title)
		say.paragraph("does", st.does)
		say.paragraph("expects", st.expects)
		start := time.Now()
		saw, err := st.run(ctx, say)
		took := time.Since(start).Round(10 * time.Millisecond)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			say.paragraph("saw", err.Error())
			return fmt.Errorf("step %d, %q, is not as expected", s.number, st.title)
		}
		say.paragraph("saw", fmt.Sprintf("%s (%s)", saw, took))
	}
	return nil
}

// scribe writes down what happens within a step.
type scribe struct{ out io.Writer }

func (s *scribe) paragraph(label, text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		fmt.Fprintf(s.out, "   %-8s %s\n", label, line)
		label = ""
	}
}

// command shows a command line and what it printed.
func (s *scribe) command(line, output string) {
	fmt.Fprintf(s.out, "     $ %s\n", line)
	for l := range strings.SplitSeq(strings.TrimRight(output, "\n"), "\n") {
		fmt.Fprintf(s.out, "       %s\n", l)
	}
}

// patience is what an expectation is given on the slowest machine; none takes
// long where all is well.
const patience = 90 * time.Second

// eventually asks again until there is no error, and returns the last one when
// patience is over.
func eventually(ctx context.Context, ask func(ctx context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := ask(limit)
		if err == nil {
			return nil
		}
		if last == nil || limit.Err() == nil {
			last = err // not that time was up while asking
		}
		var final *finalError
		if errors.As(err, &final) {
			return final.err
		}
		select {
		case <-ticker.C:
		case <-limit.Done():
			return fmt.Errorf("after %s: %w", patience, last)
		}
	}
}

// finalError is one that asking again would not mend.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
