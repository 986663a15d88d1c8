// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

func (s *session) cancel() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "cancel NAME",
		Short: "Take a removal back, while that is possible",
		Long: `Take a removal back: the peer goes on as before, with all it owns. That is possible until
evidence and heir are fixed (phase Transferring); after that, what has become of the
addresses is said, and nothing is changed.`,
		Example: `  kubectl selvage cancel host3
  kubectl selvage cancel host3 --timeout 1m`,
		Args:              exactly(1, "one NAME: the peer whose removal is to be cancelled"),
		ValidArgsFunction: s.completeRemovals,
	}
	w.addTimeout(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop, err := w.context(cmd.Context())
		if err != nil {
			return err
		}
		defer stop()
		return s.runCancel(ctx, args[0])
	}
	return cmd
}

func (s *session) runCancel(ctx context.Context, name string) error {
	op, say, err := s.operator(false)
	if err != nil {
		return err
	}
	defer say.end()
	st := survey.Read(ctx, op.Client, op.Namespace, inventory.Peers, inventory.Ranges, inventory.Removals)
	if err := st.Require(inventory.Peers, inventory.Removals); err != nil {
		return err
	}
	peer, err := s.subject(ctx, op, st, name)
	if err != nil {
		return err
	}
	if _, err := op.Cancel(ctx, peer); err != nil {
		return err
	}
	say.end()
	_, err = fmt.Fprintf(s.Out, "the removal of %s is cancelled\n", peer)
	return err
}
