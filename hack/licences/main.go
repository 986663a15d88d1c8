// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Command licences says under which licences the code stands that is compiled
// into Selvage's programs: go run ./hack/licences --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// allowed are the licences that code in our programs may have, by SPDX's names.
// They ask for no more than that their text goes along.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

const long = `Finds the licence of every package of others that is compiled into the given
programs, for amd64 and arm64: the licence file next to the package or in the
nearest folder above it, within its module. It is recognised as pkg.go.dev does.

A package without a licence, with one that is not recognised, or with one that is
not on the allow list is an error, and nothing is written.`

const examples = `  # What make generate does:
  go run ./hack/licences --page docs/reference/licences.md ./cmd/...
  # The texts, to go along with the programs:
  go run ./hack/licences --texts bin/THIRD_PARTY.txt ./cmd/...`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var page, texts string
	cmd := &cobra.Command{
		Use: "licences PACKAGE...", Short: "List the licences of what is compiled into programs", Long: long, Example: examples,
		Args: cobra.MinimumNArgs(1), SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, patterns []string) error {
			found, err := scan(cmd.Context(), patterns)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d licence files, all of them %s\n", len(found), strings.Join(names(found), ", "))
			if page != "" {
				if err := os.WriteFile(page, []byte(pageOf(found)), 0o644); err != nil {
					return err
				}
			}
			if texts == "" {
				return nil
			}
			if err := os.MkdirAll(filepath.Dir(texts), 0o755); err != nil {
				return err
			}
			return os.WriteFile(texts, []byte(textsOf(found)), 0o644)
		},
	}
	cmd.Flags().StringVar(&page, "page", "", "write the list here, as Markdown")
	cmd.Flags().StringVar(&texts, "texts", "", "write the texts of the licences here, one after another")
	return cmd
}

// names are the licences found, each once.
func names(found []licence) []string {
	var all []string
	for _, l := range found {
		all = append(all, l.ids...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func pageOf(found []licence) string {
	var b strings.Builder
	b.WriteString("<!-- Written by make generate. -->\n\n# Licences of what is compiled in\n\n" +
		"Selvage is Apache-2.0. Its programs and images are built with these modules; names are SPDX's. Allowed are\n" +
		strings.Join(allowed, ", ") + "; with anything else `make generate` fails. `make licences` writes\nthe texts, to be handed on with the programs.\n\n" +
		"| module | version | licence | file |\n| --- | --- | --- | --- |\n")
	for _, l := range found {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", l.module, l.version, strings.Join(l.ids, ", "), l.file)
	}
	return b.String()
}

func textsOf(found []licence) string {
	var b strings.Builder
	b.WriteString("What is compiled into Selvage's programs besides Selvage, and on which terms.\n")
	for _, l := range found {
		fmt.Fprintf(&b, "\n%s\n%s %s: %s\n%s\n\n%s\n", rule, l.module, l.version, l.file, rule, l.text)
	}
	return b.String()
}

var rule = strings.Repeat("=", 80)
