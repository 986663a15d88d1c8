// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/removal"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

func (s *session) reset() *cobra.Command {
	var w waiting
	var req removal.Request
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset NAME",
		Short: "Make a peer leave the network and start from scratch",
		Long: `Make a peer leave the network, as "weave reset" did: its addresses go back to their pools,
and when that is safely done the node may join again, from scratch, with new addresses.

It is a removal without an heir, followed by its deletion once it is over. A live node that
still runs pods waits until it is drained. If this command is interrupted, the node stays out
until it is run again, or until the PeerRemoval is deleted.

To take a node out for good on the node itself: selvage-agent reset.`,
		Example: `  kubectl drain host3 --ignore-daemonsets --delete-emptydir-data
  kubectl selvage reset host3
  kubectl uncordon host3`,
		Args:              exactly(1, "one NAME: a peer's name, host name or address"),
		ValidArgsFunction: s.completePeers(1),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "Do not ask")
	cmd.Flags().BoolVar(&req.AssertDown, "assert-down", false, "Vouch that the machine is off: do not wait for its lease to run out")
	w.addTimeout(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop, err := w.context(cmd.Context())
		if err != nil {
			return err
		}
		defer stop()
		return s.runReset(ctx, args[0], req, yes)
	}
	return cmd
}

func (s *session) runReset(ctx context.Context, name string, req removal.Request, yes bool) error {
	op, say, err := s.operator(false)
	if err != nil {
		return err
	}
	defer say.end()
	st := survey.Read(ctx, op.Client, op.Namespace, inventory.Peers, inventory.Ranges, inventory.Removals)
	if err := st.Require(inventory.Peers, inventory.Removals); err != nil {
		return err
	}
	if req.Peer, err = s.subject(ctx, op, st, name); err != nil {
		return err
	}
	if err := s.confirm(st, req.Peer, yes); err != nil {
		return err
	}
	result, err := op.Declare(ctx, req)
	if err != nil {
		return err
	}
	if err := s.follow(ctx, op, say, result); err != nil {
		return err
	}
	if err := op.Readmit(ctx, result.Removal); err != nil {
		return err
	}
	say.end()
	_, err = fmt.Fprintf(s.Out, "%s may join again: its agent starts from scratch\n", req.Peer)
	return err
}

// confirm asks, on a terminal, whether this is what was meant; elsewhere it
// takes --yes.
func (s *session) confirm(st *inventory.State, peer string, yes bool) error {
	if yes {
		return nil
	}
	consequence := fmt.Sprintf("%s leaves the network", peer)
	if p := st.Peer(peer); p != nil {
		held := display.Holdings(st)[p.UID]
		consequence = fmt.Sprintf("%s leaves the network: its %d addresses (%d ranges, %d in use) go back to their pools, and it starts from scratch with others",
			peer, held.Addresses, held.Ranges, held.Used)
	}
	if !printers.IsTerminal(s.Out) || !printers.IsTerminal(s.In) {
		return usage("%s; say --yes if that is meant", consequence)
	}
	if _, err := fmt.Fprintf(s.Out, "%s.\nType its name to go on: ", consequence); err != nil {
		return err
	}
	answer, err := bufio.NewReader(s.In).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != peer {
		return errors.New("nothing was done")
	}
	return nil
}
