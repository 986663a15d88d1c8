// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command reference writes docs/reference: what the API's fields, the metrics,
// the rights and the programs' flags are, as code and manifests say it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// notice begins each page.
const notice = "<!-- Written by make generate. -->\n\n"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: reference CONFIG DOCS_REFERENCE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func write(config, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, page := range map[string]func() (string, error){
		"api.md":     func() (string, error) { return apiPage(filepath.Join(config, "crd", "bases")) },
		"rbac.md":    func() (string, error) { return rbacPage(filepath.Join(config, "rbac")) },
		"metrics.md": metricsPage,
		"flags.md":   flagsPage,
	} {
		text, err := page()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(notice+text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
