// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

func (s *session) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show pools, peers and removals, and what each waits for",
		Long: `Show the network on one page: the pools and how full they are, the peers by phase,
and every removal under way: what it waits for, and what would move it on.`,
		Example: `  kubectl selvage status
  kubectl selvage status -o jsonpath='{.removals[*].peer}'
  kubectl selvage status ipam
  kubectl selvage status peers`,
		Args:              exactly(0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	out := addOutput(cmd, false, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		drawn, err := out.drawn()
		if err != nil {
			return err
		}
		st, err := s.read(cmd.Context(), inventory.Pools, inventory.Peers, inventory.Ranges, inventory.Removals, inventory.Leases)
		if err != nil {
			return err
		}
		overview := display.Summarise(st, time.Now())
		if !drawn {
			return out.report(s.Out, "Status", overview)
		}
		return s.page(out).Overview(overview)
	}
	// weave status ipam, weave status peers.
	cmd.AddCommand(s.ipam(), s.peers())
	return cmd
}

// read reads what a command shows. It fails if none of it could be read, or
// the peers could not: without them there is nothing to tell.
func (s *session) read(ctx context.Context, parts ...inventory.Part) (*inventory.State, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	st := survey.Read(ctx, c, s.namespace(), parts...)
	return st, st.Require(inventory.Peers)
}
