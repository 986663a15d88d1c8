// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// pollPeriod is how often reset looks how far the agent has come.
const pollPeriod = 500 * time.Millisecond

// tellFor is how long a reset that was cancelled stays there to tell so to who
// has cancelled it, unless that one has been told.
const tellFor = 10 * time.Second

func newReset(o *options) *cobra.Command {
	cutOff, stay, cancel := false, false, false
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Leave the network for good, and wait until that is safe",
		Long: `Leave the network for good. The node's ranges go back to their pools; reset ends
once they are safely out of its hands, and then forgets, on this disk and in
this kernel, that it was a member. An agent that is started afterwards starts
from scratch.

It works with the agent that runs here, or by itself if none does. Pods that
hold addresses hold it up: drain the node first, or cut them off.

Until the ranges move it can be undone: by --cancel, which also ends a reset
that waits elsewhere on this machine, or, if neither that nor an agent runs, by
starting the agent again.

The CNI plugin and its configuration go too, from the folders that the agent
that runs was told of, or else this command; but after --cut-off-pods not yet:
the runtime takes the plugin to end those pods. Once they are gone, say reset
again, without it.`,
		Example: `  # Drain, then leave:
  kubectl drain host3 --ignore-daemonsets --delete-emptydir-data
  selvage-agent reset --node-name=host3

  # Leave at once, whatever runs here:
  selvage-agent reset --node-name=host3 --cut-off-pods

  # Remain in the network after all:
  selvage-agent reset --node-name=host3 --cancel`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cancel {
				return cancelReset(cmd.Context(), o, cmd.OutOrStdout())
			}
			if stay {
				return resetAndStay(cmd.Context(), o, cutOff, cmd.OutOrStdout())
			}
			return reset(cmd.Context(), o, cutOff, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&cutOff, "cut-off-pods", false, "cut off the pods that are left, instead of waiting for a drain")
	cmd.Flags().BoolVar(&stay, "stay", false, "afterwards stay, ready at --health-probe-bind-address, and remove the CNI plugin when told to end: "+
		"so a DaemonSet of this command is rolled out once all its nodes have left")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "remain in the network, as long as no range has moved")
	cmd.MarkFlagsMutuallyExclusive("cancel", "cut-off-pods")
	cmd.MarkFlagsMutuallyExclusive("cancel", "stay")
	return cmd
}

// resetAndStay resets, and shows by readiness that it has.
func resetAndStay(ctx context.Context, o *options, cutOff bool, out io.Writer) error {
	waiting := errors.New("this node has not left the network yet")
	var done atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return serveHTTP(ctx, o.health, probes(func() error {
			if done.Load() {
				return nil
			}
			return waiting
		}))
	})
	group.Go(func() error {
		if err := reset(ctx, o, cutOff, out); err != nil {
			return err
		}
		done.Store(true)
		<-ctx.Done()
		return o.cleanUp()
	})
	return group.Wait()
}

// progress prints each state once.
type progress struct {
	out  io.Writer
	last string
}

func (p *progress) show(now membership.Progress) {
	text := now.Row
	if now.Waiting != "" {
		text += ": waiting for " + now.Waiting
	}
	if text != p.last {
		p.last = text
		fmt.Fprintln(p.out, text)
	}
}

func reset(ctx context.Context, o *options, cutOff bool, out io.Writer) error {
	shown := &progress{out: out}
	path := filepath.Join(o.runDir, controlSocket)
	by := uuid.NewString()
	for {
		now, err := control(path).leave(ctx, by, cutOff)
		if errors.Is(err, errNoAgent) {
			if err := ctx.Err(); err != nil {
				return interrupted(err)
			}
			err = resetAlone(ctx, o, by, cutOff, shown)
			if err == nil && !cutOff {
				err = o.cleanUp()
			}
			if errors.Is(err, membership.ErrRunning) {
				return fmt.Errorf("%w, but it does not answer at %s: is --run-dir the agent's?", err, path)
			}
			return err
		}
		if err != nil {
			return err
		}
		if now.Cancelled {
			return errCancelled
		}
		if now.Left {
			fmt.Fprintln(out, "left the network: to join anew, start the agent again")
			return nil
		}
		shown.show(now)
		select {
		case <-ctx.Done():
			return interrupted(ctx.Err())
		case <-time.After(pollPeriod):
		}
	}
}

func interrupted(err error) error {
	return fmt.Errorf("interrupted before this node had left (%w): say it again to go on, or with --cancel to remain, as long as no range has moved", err)
}

var errCancelled = errors.New("cancelled, by selvage-agent reset --cancel: this node has not left")

// cleanUp takes away what an agent leaves for the next one: the plugin, and
// what is in the run directory.
func (o *options) cleanUp() error {
	errs := []error{o.installation(nil, nil).Remove()}
	for _, name := range []string{wire.Socket, wire.Alive, controlSocket} {
		if err := os.Remove(filepath.Join(o.runDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cleaning the run directory up: %w", err))
		}
	}
	return errors.Join(errs...)
}

// resetAlone leaves without an agent that runs: it is one, that serves nobody.
func resetAlone(ctx context.Context, o *options, by string, cutOff bool, shown *progress) error {
	if err := o.validate(); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		var err error
		if log, err = o.logger(); err != nil {
			return err
		}
	}
	p, err := o.assemble(log)
	if err != nil {
		return err
	}
	err = p.leaveAlone(ctx, o, by, cutOff, shown)
	return errors.Join(err, p.close())
}

func (p *parts) leaveAlone(ctx context.Context, o *options, by string, cutOff bool, shown *progress) (err error) {
	if err := os.MkdirAll(o.runDir, 0o755); err != nil {
		return fmt.Errorf("making the run directory: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	agent, running := errgroup.WithContext(ctx)
	defer func() {
		stop()
		err = errors.Join(err, agent.Wait())
	}()
	if err := p.agent.Adopt(running); err != nil {
		return err
	}
	p.agent.Leave(by, cutOff)
	agent.Go(func() error { return p.agent.Run(running) })
	agent.Go(func() error {
		return p.serveControl(running, filepath.Join(o.runDir, controlSocket), o.installation(nil, nil))
	})
	deadline := time.Now().Add(tellFor)
	for {
		now := p.agent.Progress()
		if now.Left {
			fmt.Fprintln(shown.out, "left the network: to join anew, start the agent")
			return nil
		}
		if !now.Leaving { // cancelled: until that holds, or cannot
			sure, err := remains(now, now.Peer)
			if err != nil || sure && (p.told.Load() || time.Now().After(deadline)) {
				return errors.Join(errCancelled, err)
			}
			if !sure {
				deadline = time.Now().Add(tellFor)
			}
		}
		shown.show(now)
		select {
		case <-running.Done():
			return interrupted(running.Err())
		case <-time.After(pollPeriod):
		}
	}
}
