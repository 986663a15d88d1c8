// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// cancelReset takes back the wish to leave, and waits until that holds.
func cancelReset(ctx context.Context, o *options, out io.Writer) error {
	socket := control(filepath.Join(o.runDir, controlSocket))
	shown := &progress{out: out}
	first := ""
	for now, err := socket.stay(ctx); ; now, err = socket.stays(ctx) {
		if errors.Is(err, errNoAgent) {
			return fmt.Errorf("%w: start the agent, which remains in the network unless it is told to leave, as long as no range has moved", err)
		}
		if err != nil {
			return err
		}
		first = cmp.Or(first, now.Peer)
		sure, tooLate := remains(now, first)
		if tooLate != nil {
			return tooLate
		}
		if sure {
			fmt.Fprintln(out, "this node remains in the network")
			return nil
		}
		shown.show(now)
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted before it was sure that this node remains in the network (%w): say it again", ctx.Err())
		case <-time.After(pollPeriod):
		}
	}
}

// remains judges how far an agent is that was told to stay, and that was that
// peer then: whether it is sure to, or why it cannot.
func remains(now membership.Progress, first string) (bool, error) {
	switch {
	case now.Left || first != "" && now.Peer != "" && now.Peer != first:
		return false, errors.New("too late: this node has left the network; its agent joins anew when it is started")
	case now.Row == membership.Fenced.String():
		return false, errors.New("too late: the removal of this node is past its point of no return, its ranges are moving or have moved; " +
			"let selvage-agent reset come to its end, then start the agent to join anew")
	case now.Removal != "" && now.Removal != string(v1alpha1.ReasonLeaving):
		return false, fmt.Errorf("this node does not leave of itself any more, but it is being removed all the same (%s): "+
			"kubectl selvage cancel undoes what a person declared", now.Removal)
	case now.Leaving:
		return false, errors.New("another selvage-agent reset has told this node to leave again")
	case now.Row == membership.Resume.String():
		return !now.Staying, nil
	case now.Row == membership.Suspended.String(), now.Row == membership.Unreachable.String():
		return false, nil
	}
	return false, fmt.Errorf("there is nothing to cancel: this node is not a member of the network (%s: %s)", now.Row, now.Waiting)
}
