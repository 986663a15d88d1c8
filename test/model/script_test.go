// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/test/model"
)

var rewrite = flag.Bool("rewrite", false, "accept the answers of the conversations in testdata")

// TestConversations plays the conversations of testdata.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := model.NewScript()
			got := s.Play(string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("it went otherwise (accept it with -rewrite):\n%s", got)
			}
			if len(s.World.Violations) > 0 {
				t.Errorf("broken: %v", s.World.Violations)
			}
		})
	}
}

func FuzzScript(f *testing.F) {
	f.Add("> pool default 10.0.0.0/28 30 29\n> host a\n> run 1m\n> remove a\n> run 2m\n> show ranges\n")
	f.Add("> host a headroom 3\n> a pod\n> a crashes\n> node a deleted\n> controllers 2\n> cancel a\n")
	f.Fuzz(func(t *testing.T, conversation string) {
		if len(conversation) > 500 || strings.Count(conversation, "run") > 3 {
			return
		}
		s := model.NewScript()
		s.Play(conversation)
		if len(s.World.Violations) > 0 {
			t.Fatalf("broken: %v", s.World.Violations)
		}
	})
}
