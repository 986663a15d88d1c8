// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// programs are those with flags: the CNI plugin has none.
var programs = []string{"kubectl-selvage", "selvage-controller", "selvage-agent"}

func flagsPage() (string, error) {
	dir, err := os.MkdirTemp("", "selvage-reference-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	var b strings.Builder
	b.WriteString("# Commands and flags\n\nWhat `--help` prints.\n")
	for _, program := range programs {
		path := filepath.Join(dir, program)
		if out, err := exec.Command("go", "build", "-o", path, "./cmd/"+program).CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", program, err, out)
		}
		if err := help(&b, path, program); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// listed finds the subcommands in a help text.
var listed = regexp.MustCompile(`(?m)^Available Commands:\n((?:  .*\n)+)`)

// help writes what a command says of itself, and then its subcommands.
func help(b *strings.Builder, path, title string, command ...string) error {
	run := exec.Command(path, append(command, "--help")...)
	run.Env = append(os.Environ(), "HOME=/root", "KUBECONFIG=", "COLUMNS=100", "NO_COLOR=1")
	out, err := run.Output()
	if err != nil {
		return fmt.Errorf("%s %s --help: %w", title, strings.Join(command, " "), err)
	}
	name := strings.Join(append([]string{title}, command...), " ")
	// Some defaults lie beside the program, which is in / in an image.
	text := strings.NewReplacer("\t", "    ", filepath.Dir(path)+"/", "/").Replace(string(out))
	fmt.Fprintf(b, "\n## %s\n```text\n%s\n```\n", name, strings.TrimSpace(text))
	match := listed.FindSubmatch(out)
	if match == nil {
		return nil
	}
	for line := range strings.Lines(string(match[1])) {
		next := strings.Fields(line)[0]
		if next == "help" || next == "completion" {
			continue
		}
		if err := help(b, path, title, append(command, next)...); err != nil {
			return err
		}
	}
	return nil
}
