// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of kubectl selvage, one file a command: it
// reads flags, and leaves reading the cluster to inventory, wording to display,
// judging to audit and acting to removal.
package cli

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// Exit codes.
const (
	ExitOK = 0
	// ExitError: it could not be done, and the message says why.
	ExitError = 1
	// ExitUsage: the command line makes no sense.
	ExitUsage = 2
	// ExitBroken: check found a broken invariant, or doctor an error.
	ExitBroken = 3
	// ExitTimeout: --timeout was up; what was asked for goes on.
	ExitTimeout = 4
	// ExitInterrupted: Ctrl-C; what was asked for goes on.
	ExitInterrupted = 130
)

const about = `Show and change who is in the Selvage pod network, and who owns which addresses.

Exit codes: 0 done, 1 error, 2 usage, 3 check found a broken invariant,
or doctor an error, 4 --timeout was up while waiting, 130 interrupted.`

const tour = `  # what is going on, and what each removal waits for
  kubectl selvage status

  # who holds how much of each pool
  kubectl selvage status ipam

  # the address space, drawn and kept up to date
  kubectl selvage map --watch

  # the same and more, in your browser
  kubectl selvage web

  # host3 burns: give its addresses to host1, and wait until that is done
  kubectl selvage rmpeer host3 --heir host1 --wait

  # is everything as it must be?
  kubectl selvage check

  # what is wrong here, and what to do about it?
  kubectl selvage doctor host3`

// session is what every command has: streams, and how to reach the cluster.
type session struct {
	genericiooptions.IOStreams
	config  *genericclioptions.ConfigFlags
	version string
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, streams genericiooptions.IOStreams, version string, args []string) int {
	ctrllog.SetLogger(logr.Discard()) // controller-runtime asks for one, or complains
	s := &session{IOStreams: streams, version: version, config: configFlags()}
	root := s.root()
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	return s.fail(cmd, err)
}

func (s *session) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "kubectl-selvage",
		Short:             "Show and change who is in the Selvage pod network",
		Long:              about,
		Example:           tour,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl selvage"},
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs, // so that an unknown word is told as such, with suggestions
		RunE:              s.help,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	s.config.AddFlags(root.PersistentFlags())
	if f := root.PersistentFlags().Lookup("namespace"); f != nil {
		f.Usage = "The namespace that Selvage is installed in (default \"" + defaultNamespace + "\")"
	}
	hide(root, "as-uid", "as-user-extra", "cache-dir", "disable-compression", "tls-server-name", "user", "token",
		"client-certificate", "client-key", "certificate-authority", "insecure-skip-tls-verify")
	root.AddCommand(s.status(), s.peers(), s.ipam(), s.mapCommand(), s.web(), s.rmpeer(), s.cancel(), s.reset(), s.check(), s.doctor(), s.supportBundle(), s.versionCommand(), s.completion())
	_ = root.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions)
	return root
}

// help shows the help, or says which word is unknown.
func (s *session) help(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	message := fmt.Sprintf("unknown command %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	for _, like := range cmd.SuggestionsFor(args[0]) {
		message += fmt.Sprintf("; did you mean %q?", like)
	}
	return usage("%s", message)
}

// hide leaves flags that kubectl has, too, out of the help; they work.
func hide(root *cobra.Command, names ...string) {
	for _, name := range names {
		if f := root.PersistentFlags().Lookup(name); f != nil {
			f.Hidden = true
		}
	}
}

// exactly is an Args check that says what is missing.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == n:
			return nil
		case n == 0:
			return usage("%s takes no arguments: %q", cmd.CommandPath(), args)
		}
		return usage("%s takes %s", cmd.CommandPath(), what)
	}
}
