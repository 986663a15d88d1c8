// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

func (s *session) peers() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "peers [NAME...]",
		Aliases: []string{"peer"},
		Short:   "List the peers: phase, what they own and use, and why one is not well",
		Long: `List the peers. A NAME is a peer's name, its host name or one of its addresses;
without any, all are listed.`,
		Example: `  kubectl selvage peers
  kubectl selvage peers -o wide
  kubectl selvage peers 10.40.0.7      # whose address is that?`,
		ValidArgsFunction: s.completePeers(-1),
	}
	out := addOutput(cmd, true, "", "wide")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		drawn, err := out.drawn()
		if err != nil {
			return err
		}
		st, err := s.read(cmd.Context(), inventory.Peers, inventory.Ranges, inventory.Leases)
		if err != nil {
			return err
		}
		peers, err := choose(st, args)
		if err != nil {
			return err
		}
		if !drawn {
			return out.print(s.Out, peerList(peers, len(args) == 1))
		}
		if len(peers) == 0 {
			return s.page(out).Line(0, "no peers: no node agent has joined yet")
		}
		return s.page(out).Peers(st, peers, out.wide())
	}
	return cmd
}

// choose resolves names to peers, in the order given.
func choose(st *inventory.State, names []string) ([]v1alpha1.Peer, error) {
	if len(names) == 0 {
		return st.Peers, nil
	}
	var chosen []v1alpha1.Peer
	for _, name := range names {
		p, err := st.Resolve(name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, *p)
	}
	return chosen, nil
}
