// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Command release says what a release is made of, and checks what it says:
// go run ./hack/release --help, and docs/supply-chain.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// release is where its parts lie.
type release struct {
	// source is the top of the source tree, dir what was built there.
	source, dir string
	statement   string
}

func newCommand() *cobra.Command {
	r := &release{}
	cmd := &cobra.Command{
		Use: "release", Short: "Say what a release is made of, and check it",
		SilenceUsage: true, SilenceErrors: true,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&r.source, "source", ".", "the top of Selvage's source tree")
	f.StringVar(&r.dir, "dir", "bin", "what make build, make images and make sbom have made")
	f.StringVar(&r.statement, "statement", "bin/provenance.json", "the statement of provenance")
	cmd.AddCommand(r.sbomCommand(), r.provenanceCommand(), r.verifyCommand(), r.rebuildCommand())
	return cmd
}

func (r *release) sbomCommand() *cobra.Command {
	var tool string
	cmd := &cobra.Command{
		Use: "sbom", Short: "Write a bill of materials for each program and architecture",
		Long: `Has cyclonedx-gomod write a bill of materials for each program and architecture, in
CycloneDX's JSON, and compares each with the program itself: both must name the same
modules, with the same versions and checksums. The same commit gives the same files.`,
		Example: "  make sbom\n  go run ./hack/release sbom --tool bin/tools/cyclonedx-gomod",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return r.sboms(cmd.Context(), cmd.OutOrStdout(), tool) },
	}
	cmd.Flags().StringVar(&tool, "tool", "bin/tools/cyclonedx-gomod", "the program that writes them")
	return cmd
}

func (r *release) provenanceCommand() *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use: "provenance", Short: "Write the statement of provenance",
		Long: `Writes an in-toto statement (v1) with SLSA's provenance (v1): programs and images with
their digests, the commit and the modules they were built from, and what built them. It is
not signed: docs/supply-chain.md says how to. It holds no date and nothing of the machine,
so that two who build one commit and name one builder get one statement.`,
		Example: "  make provenance\n  go run ./hack/release provenance --builder https://ci.example.com/selvage@v1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.provenance(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	cmd.Flags().StringVar(&o.builder, "builder", localBuilder, "who builds: a URI that stands for the platform which is to be trusted")
	cmd.Flags().BoolVar(&o.dirty, "allow-dirty", false, "there are uncommitted changes, and the statement is to say so")
	return cmd
}

func (r *release) verifyCommand() *cobra.Command {
	var commit string
	cmd := &cobra.Command{
		Use: "verify [NAME...]", Short: "Compare what is here with the statement",
		Long: `Compares programs, images and bills of materials with the statement of provenance, and
the modules that each program names in itself with those of the statement. With names,
only those. What is missing or differs is an error. Who made the statement it cannot
say: check its signature first.`,
		Example: "  go run ./hack/release verify\n  go run ./hack/release verify --commit $(git rev-parse v1.0.0) selvage-agent images/selvage-agent.tar",
		RunE: func(cmd *cobra.Command, names []string) error {
			return r.verify(cmd.OutOrStdout(), commit, names)
		},
	}
	cmd.Flags().StringVar(&commit, "commit", "", "the commit that it must have been built from")
	return cmd
}

func (r *release) rebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rebuild", Short: "Build the statement's commit again, elsewhere and with nothing cached, and compare",
		Long: `Clones the commit that the statement names into a temporary folder, builds programs and
images there with an empty build cache, and compares them with the statement. It takes
some minutes, and needs the Go version that the statement names.`,
		Example: "  make reproducible\n  go run ./hack/release rebuild --statement bin/provenance.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return r.rebuild(cmd.Context(), cmd.OutOrStdout()) },
	}
}
