// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"fmt"
	"os"
	"strings"
)

// examples are the files that a page shows: blocks of YAML that begin with a
// comment of the file's path alone. "$" is the whole page.
type examples map[string]string

func readExamples(path string) (examples, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the examples: %w", err)
	}
	found := examples{"$": string(text)}
	for _, block := range strings.Split(string(text), "\n```yaml\n")[1:] {
		block, _, closed := strings.Cut(block, "\n```\n")
		name, _, _ := strings.Cut(block, "\n")
		if !closed || !strings.HasPrefix(name, "# ") || !strings.HasSuffix(name, ".yaml") {
			return nil, fmt.Errorf("%s: a block of YAML does not begin with its file's name: %q", path, name)
		}
		found[strings.TrimPrefix(name, "# ")] = block + "\n"
	}
	return found, nil
}

// with is what a commit makes of files: those named are there.
func (e examples) with(names ...string) examples {
	tree := examples{}
	for _, name := range names {
		tree[name] = e[name]
	}
	return tree
}

// edited is the file with one thing in the place of another.
func (e examples) edited(name, old, replacement string) examples {
	tree := examples{}
	for other, text := range e {
		tree[other] = text
	}
	if !strings.Contains(e[name], old) {
		panic(fmt.Sprintf("%s does not have %q:\n%s", name, old, e[name]))
	}
	tree[name] = strings.ReplaceAll(e[name], old, replacement)
	return tree
}
