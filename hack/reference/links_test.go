// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	// dropped are what a forge leaves out of a heading's anchor.
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are those of a page's headings.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		out[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(match[1])), ""), " ", "-")] = true
	}
	return out
}

// broken are the links of a page, at a path, that lead to nothing in this tree.
func broken(path, page string) (out []string) {
	for _, match := range link.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		target, anchor, _ := strings.Cut(match[1], "#")
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		there := path
		if target != "" {
			there = filepath.Join(filepath.Dir(path), target)
		}
		info, err := os.Stat(there)
		switch {
		case err != nil:
			out = append(out, match[1])
		case anchor != "" && !info.IsDir():
			text, err := os.ReadFile(there)
			if err != nil || !anchors(string(text))[anchor] {
				out = append(out, match[1])
			}
		}
	}
	return out
}

// TestLinks: what the pages of this tree link to within it is there.
func TestLinks(t *testing.T) {
	pages := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		pages++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, l := range broken(path, string(text)) {
			t.Errorf("%s: %s", path, l)
		}
		return nil
	})
	if err != nil || pages < 15 {
		t.Errorf("%d pages, %v", pages, err)
	}
	for _, bad := range []string{"[a](nowhere.md)", "[a](#nothing)", "[a](links_test.go#x)"} {
		if len(broken("links_test.go", bad)) != 1 {
			t.Errorf("%s is not found broken", bad)
		}
	}
}
