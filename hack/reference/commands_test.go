// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	typed   = regexp.MustCompile(`(?m)(?:^|[^/\w-])(kubectl[ -]selvage|selvage-agent|selvage-controller)((?: (?:--[a-z-]+|[A-Za-z0-9/.=-]+))*)`)
	counted = regexp.MustCompile("`(selvage_[a-z_]+)`")
)

// unknown are what a page says of commands and metrics and the reference does
// not know: subcommands and flags that are not there.
func unknown(page, flags, metrics string) (out []string) {
	for _, match := range typed.FindAllStringSubmatch(page, -1) {
		command := strings.ReplaceAll(match[1], " ", "-")
		words := strings.Fields(match[2])
		for len(words) > 0 && strings.Contains(flags, "\n## "+command+" "+words[0]+"\n") {
			command, words = command+" "+words[0], words[1:]
		}
		_, text, _ := strings.Cut(flags, "\n## "+command+"\n")
		text, _, _ = strings.Cut(text, "\n## ")
		for _, word := range words {
			flag, _, _ := strings.Cut(word, "=")
			if strings.HasPrefix(flag, "--") && !strings.Contains(text, " "+flag+" ") && flag != "--help" {
				out = append(out, command+" "+flag)
			}
		}
		if command == "kubectl-selvage" && len(words) > 0 && regexp.MustCompile(`^[a-z-]+$`).MatchString(words[0]) && !strings.HasPrefix(words[0], "-") {
			out = append(out, command+" "+words[0])
		}
	}
	for _, match := range counted.FindAllStringSubmatch(page, -1) {
		if !strings.Contains(metrics, "`"+match[1]+"`") {
			out = append(out, match[1])
		}
	}
	return out
}

// TestCommands: the commands, flags and metrics that the FAQ names are there.
func TestCommands(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join("../../docs", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	flags, metrics := read("reference/flags.md"), read("reference/metrics.md")
	for _, page := range []string{"faq.md", "migrate.md", "upgrade.md"} {
		if found := unknown(read(page), flags, metrics); len(found) != 0 {
			t.Errorf("docs/%s names what is not there: %q", page, found)
		}
	}
	for _, bad := range []string{"`kubectl selvage prime`", "kubectl selvage rmpeer host3 --her host1", "`selvage-agent --mtus`", "`selvage_nothing`"} {
		if len(unknown(bad, flags, metrics)) != 1 {
			t.Errorf("%s is not found out", bad)
		}
	}
}
