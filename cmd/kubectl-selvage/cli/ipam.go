// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

func (s *session) ipam() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ipam",
		Short: "Show how each pool is divided: peer, addresses, share of the total, in use",
		Long: `Show how each pool is divided among the peers, as "weave status ipam" did: who owns
how many addresses, what share of the total that is, how many are in use, and who cannot
be reached. -o wide adds the ranges.`,
		Example: `  kubectl selvage ipam
  kubectl selvage status ipam -o wide`,
		Args:              exactly(0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	out := addOutput(cmd, false, "", "wide")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		drawn, err := out.drawn()
		if err != nil {
			return err
		}
		st, err := s.read(cmd.Context(), inventory.Pools, inventory.Peers, inventory.Ranges, inventory.Leases)
		if err != nil {
			return err
		}
		// A division without its ranges would be a wrong answer.
		if err := st.Require(inventory.Pools, inventory.Ranges); err != nil {
			return err
		}
		shares := display.Shares(st)
		if !drawn {
			return out.report(s.Out, "IPAM", shares)
		}
		return s.page(out).IPAM(shares, out.wide())
	}
	return cmd
}
