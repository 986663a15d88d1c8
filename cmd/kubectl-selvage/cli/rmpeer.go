// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/removal"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

// pollInterval is how often a wait looks again.
const pollInterval = 500 * time.Millisecond

// waiting are the flags of commands that may wait.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) addTimeout(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "How long to wait, such as 5m; 0 is for ever. What was asked for goes on all the same")
}

// context bounds a wait.
func (w *waiting) context(ctx context.Context) (context.Context, context.CancelFunc, error) {
	switch {
	case w.timeout < 0:
		return nil, nil, usage("--timeout %s: a time to wait is not negative", w.timeout)
	case w.timeout == 0:
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	return ctx, cancel, nil
}

func (s *session) rmpeer() *cobra.Command {
	var w waiting
	var req removal.Request
	cmd := &cobra.Command{
		Use:     "rmpeer NAME",
		Aliases: []string{"remove"},
		Short:   "Take a peer out of the network; its addresses go to an heir, or back to their pools",
		Long: `Take a peer out of the network, by a PeerRemoval of today's instance of it.

NAME is a peer's name, its host name or one of its addresses. What is ambiguous is refused,
with the candidates. The removal waits for proof that the peer allocates no more: it says so
itself, or its lease has run out, or --assert-down vouches for it. Then every other peer cuts it off,
and only then do its addresses change hands.

Removing a peer that is being removed already, with the same heir, changes nothing.`,
		Example: `  # host3 burns: host1 takes over
  kubectl selvage rmpeer host3 --heir host1 --wait

  # the same, vouching that the machine is off: no wait for its lease
  kubectl selvage rmpeer host3 --heir host1 --assert-down --wait

  # give its addresses back to the pool, and give up waiting after five minutes
  kubectl selvage rmpeer host3 --wait --timeout 5m`,
		Args:              exactly(1, "one NAME: a peer's name, host name or address"),
		ValidArgsFunction: s.completePeers(1),
	}
	cmd.Flags().StringVar(&req.Heir, "heir", "", "The peer that takes over, by name, host name or address; without it the addresses go back to their pools")
	cmd.Flags().BoolVar(&req.AssertDown, "assert-down", false, "Vouch that the machine is off: do not wait for its lease to run out")
	cmd.Flags().BoolVar(&w.wait, "wait", false, "Wait until the removal is over, and say how it goes")
	w.addTimeout(cmd)
	_ = cmd.RegisterFlagCompletionFunc("heir", s.completePeers(-1))
	out := addOutput(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if w.timeout != 0 && !w.wait {
			return usage("--timeout is for --wait")
		}
		if cmd.Flags().Changed("heir") && req.Heir == "" {
			return usage("--heir is empty: name a peer, or leave it out and the addresses go back to their pools")
		}
		return s.runRemoval(cmd.Context(), args[0], req, w, out)
	}
	return cmd
}

func (s *session) runRemoval(ctx context.Context, name string, req removal.Request, w waiting, out *output) error {
	drawn, err := out.drawn()
	if err != nil {
		return err
	}
	ctx, cancel, err := w.context(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	op, say, err := s.operator(!drawn)
	if err != nil {
		return err
	}
	defer say.end()
	if err := s.resolve(ctx, op, name, &req); err != nil {
		return err
	}
	result, err := op.Declare(ctx, req)
	if err != nil {
		return err
	}
	if drawn && !w.wait {
		return s.declared(ctx, op, result)
	}
	if w.wait {
		if err := s.follow(ctx, op, say, result); err != nil {
			return err
		}
	}
	if drawn {
		return nil
	}
	if err := op.Client.Get(ctx, keyOf(result.Removal), result.Removal); err != nil {
		return err
	}
	return out.print(s.Out, removalObject(result.Removal))
}

// declared tells what was done, and what to do next, when not waiting.
func (s *session) declared(ctx context.Context, op *removal.Operator, result *removal.Result) error {
	if _, err := fmt.Fprintf(s.Out, "peerremoval.net.selvage.dev/%s %s\n", result.Removal.Name, result.Verb); err != nil {
		return err
	}
	st := survey.Read(ctx, op.Client, op.Namespace, inventory.Peers, inventory.Removals)
	if r := st.Removal(result.Removal.Name); r != nil && r.Over() {
		return s.page(nil).Line(display.Plain, "%s", display.Already(r, time.Now()))
	}
	_, err := fmt.Fprintf(s.ErrOut, "follow it with: kubectl selvage status; cancel it with: kubectl selvage cancel %s\n", result.Removal.Name)
	return err
}

// follow waits for the end, and says how it went.
func (s *session) follow(ctx context.Context, op *removal.Operator, say *progress, result *removal.Result) error {
	r, err := op.Follow(ctx, result)
	say.end()
	if err != nil {
		return err
	}
	sentence := display.Outcome(r)
	if !result.Fresh() && !say.spoke {
		sentence = display.Already(r, time.Now())
	}
	_, err = fmt.Fprintln(say.out, sentence)
	return err
}

// resolve turns the names that a person typed into peers' names, and refuses
// at once what the controller could only stall on.
func (s *session) resolve(ctx context.Context, op *removal.Operator, name string, req *removal.Request) error {
	st := survey.Read(ctx, op.Client, op.Namespace, inventory.Peers, inventory.Ranges, inventory.Removals)
	if err := st.Require(inventory.Peers, inventory.Removals); err != nil {
		return err
	}
	var err error
	if req.Peer, err = s.subject(ctx, op, st, name); err != nil {
		return err
	}
	if req.Heir == "" {
		return nil
	}
	heir, err := st.Resolve(req.Heir)
	if err != nil {
		if stands := st.Declared(req.Peer); stands != nil && stands.Spec.Heir == req.Heir {
			return nil // it goes on, whatever became of the heir meanwhile
		}
		return fmt.Errorf("--heir: %w", err)
	}
	req.Heir = heir.Name
	if req.Heir == req.Peer {
		return usage("%s cannot be its own heir: name another peer, or leave --heir out and its addresses go back to their pools", req.Peer)
	}
	stands := st.Declared(req.Peer)
	if out := st.Removal(heir.Name); out != nil && stands == nil {
		return fmt.Errorf("--heir: %s; name a peer that stays", display.Already(out, op.Now()))
	}
	return nil
}

// subject finds the peer to act on. It may be gone already (its PeerRemoval
// stands) or never have joined (its Node is there).
func (s *session) subject(ctx context.Context, op *removal.Operator, st *inventory.State, name string) (string, error) {
	p, err := st.Resolve(name)
	if err == nil {
		return p.Name, nil
	}
	var unknown *inventory.UnknownError
	if !errors.As(err, &unknown) {
		return "", err
	}
	bare, _ := inventory.BareName(name)
	if st.Declared(bare) != nil {
		return bare, nil
	}
	nodes := survey.Read(ctx, op.Client, op.Namespace, inventory.Nodes)
	for i := range nodes.Nodes {
		if nodes.Nodes[i].Name == bare {
			return bare, nil
		}
	}
	return "", err
}
