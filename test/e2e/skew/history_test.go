// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package skew

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBaseline(t *testing.T) {
	one := strings.Repeat("0a", 20)
	for text, want := range map[string]string{
		"# why\n\n" + one + "\n":    one,
		one:                         one,
		"":                          "",
		"# only words\n":            "",
		one[:12] + "\n":             "",
		one + "\n" + one + "\n":     "",
		strings.ToUpper(one) + "\n": "",
		"main\n":                    "",
	} {
		path := filepath.Join(t.TempDir(), "baseline")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := baseline(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestNoHistory: in a shallow clone nothing can be tested, which is no failure
// unless it is said to be; anything else is.
func TestNoHistory(t *testing.T) {
	none := strings.Repeat("0", 40)
	if err := extract(t.Context(), current.source, none, t.TempDir()); err == nil || errors.Is(err, errNoHistory) {
		t.Fatalf("in a whole clone: %v", err)
	}
	shallow := filepath.Join(t.TempDir(), "shallow")
	if err := run(t.Context(), current.source, "git", "clone", "--quiet", "--depth=1", "file://"+current.source, shallow); err != nil {
		t.Fatal(err)
	}
	absent := extract(t.Context(), shallow, none, t.TempDir())
	if !errors.Is(absent, errNoHistory) {
		t.Fatal(absent)
	}
	t.Setenv("SELVAGE_HISTORY", "")
	if code := missing(absent); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Setenv("SELVAGE_HISTORY", "required")
	if code := missing(absent); code != 1 {
		t.Errorf("required: exit code %d", code)
	}
	t.Setenv("SELVAGE_HISTORY", "")
	if code := missing(os.ErrPermission); code != 1 {
		t.Errorf("something else: exit code %d", code)
	}
}
