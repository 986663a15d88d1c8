// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// manual is what there is to be typed in this tree.
type manual struct {
	// commands are the programs' and their subcommands' help texts, by name.
	commands map[string]string
	targets  []string
}

var (
	sectionOf = regexp.MustCompile("(?ms)^## (\\S[^\n]*)\n```text\n(.*?)^```$")
	target    = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
	console   = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	inline    = regexp.MustCompile("`([^`\n]+)`")
	flag      = regexp.MustCompile(`(^|\s)(--[a-z][a-z-]*)`)
	paths     = regexp.MustCompile(`(?:^|\s)(?:-k|-f|--patch-file|go run|go test.*?) (?:\./)?((?:config|charts|hack|test|cmd)[\w./-]*)`)
	selvages  = regexp.MustCompile(`^(?:kubectl[ -]selvage|selvage-agent|selvage-controller)\b`)
)

func readManual(t *testing.T) manual {
	t.Helper()
	m := manual{commands: map[string]string{}}
	page, err := os.ReadFile("../../docs/reference/flags.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range sectionOf.FindAllStringSubmatch(string(page), -1) {
		m.commands[match[1]] = match[2]
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range target.FindAllStringSubmatch(string(makefile), -1) {
		m.targets = append(m.targets, match[1])
	}
	if len(m.commands) < 15 || len(m.targets) < 15 {
		t.Fatalf("only %d commands and %d targets are known", len(m.commands), len(m.targets))
	}
	return m
}

// typed are the commands of a page: its console blocks' lines, and what of ours
// stands in its text.
func typed(page string) (out []string) {
	for _, block := range console.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				command, _, _ = strings.Cut(command, "  #")
				out = append(out, strings.TrimSpace(command))
			}
		}
	}
	for _, match := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		if command := match[1]; selvages.MatchString(command) || strings.HasPrefix(command, "make ") || strings.HasPrefix(command, "go run ./") {
			out = append(out, command)
		}
	}
	return out
}

// wrong is what is not there of what a command names, or "".
func (m manual) wrong(command string) string {
	for _, match := range paths.FindAllStringSubmatch(command, -1) {
		if _, err := os.Stat(filepath.Join("../..", strings.TrimSuffix(match[1], "/..."))); err != nil {
			return match[1]
		}
	}
	if rest, ok := strings.CutPrefix(command, "make "); ok {
		for _, word := range strings.Fields(rest) {
			if strings.Contains(word, "=") {
				break // a variable, which may have spaces in it
			}
			if !slices.Contains(m.targets, word) {
				return "make " + word
			}
		}
	}
	words := strings.Fields(strings.Replace(command, "kubectl selvage", "kubectl-selvage", 1))
	if len(words) == 0 || m.commands[words[0]] == "" {
		return ""
	}
	name := words[0]
	for _, word := range words[1:] {
		if m.commands[name+" "+word] == "" {
			break
		}
		name += " " + word
	}
	help := m.commands[name]
	if len(words) > len(strings.Fields(name)) && strings.Contains(help, "Available Commands:") {
		if next := words[len(strings.Fields(name))]; !strings.HasPrefix(next, "-") && next != "completion" && next != "help" {
			return name + " " + next
		}
	}
	for _, match := range flag.FindAllStringSubmatch(command, -1) {
		if !regexp.MustCompile(`\s` + match[2] + `\b`).MatchString(help + " --help") {
			return name + " " + match[2]
		}
	}
	return ""
}

// TestCommands: what the pages of this tree tell people to type is there: our
// programs' subcommands and flags, targets, and files.
func TestCommands(t *testing.T) {
	m, seen := readManual(t), 0
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(pages, "../../config/monitoring/rules.yaml", "../../README.md", "../../CONTRIBUTING.md", "../../DESIGN.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range typed(string(text)) {
			seen++
			if what := m.wrong(command); what != "" {
				t.Errorf("%s: there is no %s: %s", name, what, command)
			}
		}
	}
	if seen < 200 {
		t.Errorf("only %d commands were found", seen)
	}
	for command, what := range map[string]string{
		"kubectl selvage rmpeer host3 --heir host1 --wait": "",
		"kubectl selvage rmpeer host3 --hair host1":        "kubectl-selvage rmpeer --hair",
		"kubectl selvage rmper host3":                      "kubectl-selvage rmper",
		"selvage-agent reset --cancel":                     "",
		"selvage-agent reset --undo":                       "selvage-agent reset --undo",
		"make images IMAGEFLAGS='--tag v2'":                "",
		"make build imagse":                                "make imagse",
		"kubectl apply -k config/nowhere":                  "config/nowhere",
		"go run ./hack/nowhere":                            "hack/nowhere",
		"kubectl get pods --any":                           "",
	} {
		if got := m.wrong(command); got != what {
			t.Errorf("%s: %q, want %q", command, got, what)
		}
	}
}
