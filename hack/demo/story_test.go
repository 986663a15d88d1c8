// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestAMismatchEndsTheStory(t *testing.T) {
	out := &strings.Builder{}
	s := &story{out: out}
	saw := func(text string, err error) func(context.Context, *scribe) (string, error) {
		return func(context.Context, *scribe) (string, error) { return text, err }
	}
	err := s.play(t.Context(), []step{
		{"first", "does one thing", "one", saw("one", nil)},
		{"second", "does another", "two", saw("", errors.New("three"))},
		{"third", "is never begun", "", saw("", nil)},
	})
	if err == nil || !strings.Contains(err.Error(), "second") {
		t.Errorf("got %v, want an error that names the step", err)
	}
	for _, want := range []string{"1. first", "does     does one thing", "expects  one", "saw      one (", "2. second", "expects  two", "saw      three"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not told:\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "third") {
		t.Errorf("it goes on after a mismatch:\n%s", out)
	}
}

func TestAnInterruptIsNoMismatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &story{out: &strings.Builder{}}
	err := s.play(ctx, []step{{"first", "", "", func(ctx context.Context, _ *scribe) (string, error) {
		cancel()
		return "", eventually(ctx, func(context.Context) error { return errors.New("not yet") })
	}}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}

func TestEventuallyEndsWithWhatWasSeen(t *testing.T) {
	final := errors.New("broken for good")
	asked := 0
	err := eventually(t.Context(), func(context.Context) error {
		if asked++; asked < 3 {
			return errors.New("not yet")
		}
		return &finalError{final}
	})
	if !errors.Is(err, final) || asked != 3 {
		t.Errorf("got %v after %d questions, want %v after 3", err, asked, final)
	}
}
