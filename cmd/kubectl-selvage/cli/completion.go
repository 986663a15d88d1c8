// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

// completionTimeout bounds what a Tab may take.
const completionTimeout = 3 * time.Second

// kubectlScript is what kubectl runs to complete "kubectl selvage …": a program
// named kubectl_complete-selvage on the PATH.
const kubectlScript = `#!/bin/sh
# Put this on your PATH as kubectl_complete-selvage, executable.
exec kubectl-selvage __complete "$@"
`

func (s *session) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell", "kubectl"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print a completion script",
		Long: `Print a completion script: for a shell, to complete kubectl-selvage; or for kubectl, so
that "kubectl selvage <Tab>" works wherever kubectl itself completes.`,
		Example: `  kubectl selvage completion kubectl > ~/bin/kubectl_complete-selvage
  chmod +x ~/bin/kubectl_complete-selvage

  source <(kubectl-selvage completion bash)`,
		Args:      exactly(1, "one of "+strings.Join(shells, ", ")),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(s.Out, true)
			case "zsh":
				return root.GenZshCompletion(s.Out)
			case "fish":
				return root.GenFishCompletion(s.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(s.Out)
			case "kubectl":
				_, err := fmt.Fprint(s.Out, kubectlScript)
				return err
			}
			return usage("%q is none of %s", args[0], strings.Join(shells, ", "))
		},
	}
}

// completePeers completes peers' names, up to max arguments (-1: any number).
func (s *session) completePeers(limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit >= 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		st := s.glance(cmd.Context(), inventory.Peers)
		var names []string
		for i := range st.Peers {
			p := &st.Peers[i]
			if slices.Contains(args, p.Name) {
				continue
			}
			names = append(names, cobra.CompletionWithDesc(p.Name,
				fmt.Sprintf("%s, %d addresses", inventory.Phase(p), p.Status.Addresses)))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRemovals completes the peers whose removal can still be cancelled.
func (s *session) completeRemovals(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	st := s.glance(cmd.Context(), inventory.Removals, inventory.Peers)
	var names []string
	for i := range st.Removals {
		if r := st.Removal(st.Removals[i].Name); r != nil && !r.Fixed() {
			names = append(names, cobra.CompletionWithDesc(r.Peer, string(r.Phase)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// glance reads for a completion: quickly, or nothing.
func (s *session) glance(ctx context.Context, parts ...inventory.Part) *inventory.State {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	c, err := s.client()
	if err != nil {
		return &inventory.State{}
	}
	return survey.Read(ctx, c, s.namespace(), parts...)
}
