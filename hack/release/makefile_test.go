// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"regexp"
	"testing"
)

// TestMakefile: the commands that make runs are there.
func TestMakefile(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`go run \./hack/release (\S+)`).FindAllStringSubmatch(string(text), -1)
	if len(found) < 4 {
		t.Fatalf("make runs %d of them", len(found))
	}
	for _, match := range found {
		if cmd, _, err := newCommand().Find(match[1:2]); err != nil || cmd.Name() != match[1] {
			t.Errorf("there is no release %s (%v)", match[1], err)
		}
	}
}
