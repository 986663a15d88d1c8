// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// leaving is the wish to leave the network for good.
type leaving struct {
	// cutOff: pods that are left do not hold it up, but are cut off.
	cutOff bool
}

// Leave has the agent leave the network for good. It may be said again. A
// removal for it can be cancelled until ranges move: by starting an agent that
// was not told to leave.
func (a *Agent) Leave(cutOffPods bool) {
	if was := a.leaving.Load(); was != nil && was.cutOff {
		cutOffPods = true
	}
	a.leaving.Store(&leaving{cutOff: cutOffPods})
	a.lookSoon()
}

// errLeft is the gate's answer after a reset.
var errLeft = errors.New("this node has left the network (selvage-agent reset): start the agent again to join anew")

// leave finishes leaving, once nothing is owned any more. Until then the rows
// go on, and the report says that this peer is leaving.
func (a *Agent) leave(ctx context.Context, s *sight) error {
	if a.leaving.Load() == nil || a.row == Unreachable {
		return nil
	}
	uid := a.Store.Record().PeerUID
	peer := s.peer(a.Name)
	if peer != nil && (a.row != Contend || string(peer.UID) == uid) {
		return nil // it is removed first
	}
	if !s.Consistent {
		return errAgain
	}
	owned := 0
	for i := range s.Ranges {
		if owner := s.Ranges[i].Spec.Owner; owner != nil && uid != "" && string(owner.UID) == uid {
			owned++
		}
	}
	if owned > 0 {
		a.mustLook.Store(true)
		return waitFor(time.Second, "%d ranges of this node to be taken over", owned)
	}
	left, err := a.abandon(ctx, s, "its node has left the network")
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return waitFor(fencePeriod, "%d pods to be cut off: %s", len(left), brief(left))
	}
	if err := a.clean(); err != nil {
		return err
	}
	a.settleStance(stance{refuse: errLeft, unhealthy: errLeft, left: true})
	a.Log.Info("left the network", "peer", uid)
	return nil
}

// Remover is a Kernel that can take away all that it has made.
type Remover interface {
	Remove() error
}

// clean forgets everything, on disk and in the kernel.
func (a *Agent) clean() error {
	if remover, ok := a.Kernel.(Remover); ok {
		if err := remover.Remove(); err != nil {
			return fmt.Errorf("removing the datapath: %w", err)
		}
	}
	return a.Store.Wipe()
}

// Progress is how far an agent has come, for people and for reset.
type Progress struct {
	Row string `json:"row"`
	// Peer is the incarnation.
	Peer string `json:"peer,omitempty"`
	// Refused is why nothing is allocated; empty: it is.
	Refused string `json:"refused,omitempty"`
	// Waiting says what is waited for, and what would end it.
	Waiting string `json:"waiting,omitempty"`
	// Leaving: it was told to leave. Left: it has.
	Leaving bool `json:"leaving,omitempty"`
	Left    bool `json:"left,omitempty"`
}

// Progress is how far the agent has come.
func (a *Agent) Progress() Progress {
	now := a.stance.Load()
	p := Progress{
		Row: now.row.String(), Peer: now.peerUID, Waiting: now.waiting, Leaving: a.leaving.Load() != nil, Left: now.left,
	}
	if err := a.permit(); err != nil {
		p.Refused = err.Error()
	}
	return p
}
