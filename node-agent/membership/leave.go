// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// leaving is the wish to leave the network for good.
type leaving struct {
	// cutOff: pods that are left do not hold it up, but are cut off.
	cutOff bool
}

// wishes are who wishes to leave, by the names they give themselves, and whose
// wish was taken back: who goes on asking after that is told so.
type wishes struct {
	sync.Mutex
	open, cancelled map[string]bool
}

// Leave has the agent leave the network for good; by is who asks. It may be
// said again. It reports whether that wish stands: Stay takes it back.
func (a *Agent) Leave(by string, cutOffPods bool) bool {
	a.wishes.Lock()
	defer a.wishes.Unlock()
	if a.wishes.cancelled[by] {
		return false
	}
	if a.wishes.open == nil {
		a.wishes.open, a.wishes.cancelled = map[string]bool{}, map[string]bool{}
	}
	a.wishes.open[by] = true
	was := a.leaving.Load()
	a.leaving.Store(&leaving{cutOff: cutOffPods || was != nil && was.cutOff})
	a.staying.Store(false)
	a.lookSoon()
	return true
}

// Stay takes back every wish to leave. The controller cancels the removal that
// it began for it, unless ranges move already. Progress says how far that is.
func (a *Agent) Stay() {
	a.wishes.Lock()
	defer a.wishes.Unlock()
	for by := range a.wishes.open {
		a.wishes.cancelled[by] = true
	}
	clear(a.wishes.open)
	a.leaving.Store(nil)
	a.staying.Store(true)
	a.lookSoon()
}

// stayed ends a Stay once the API shows a Peer that neither leaves nor is being
// removed: a removal that a controller was about to begin then fails, since it
// rests on the Peer as it was. said is what was read, before the report.
func (a *Agent) stayed(s *sight, said bool) error {
	if !a.staying.Load() {
		return nil
	}
	if !s.Consistent || said {
		return errAgain
	}
	a.staying.Store(false)
	return nil
}

// errLeft is the gate's answer after a reset.
var errLeft = errors.New("this node has left the network (selvage-agent reset): start the agent again to join anew")

// leave finishes leaving, once nothing is owned any more. Until then the rows
// go on, and the report says that this peer is leaving.
func (a *Agent) leave(s *sight) error {
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
	// First of all the Lease is let go: while it is renewed, nobody takes over.
	left, err := a.abandon(s, "its node has left the network")
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return waitFor(fencePeriod, "%d pods to be cut off: %s", len(left), brief(left))
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
	if n := a.evictions.untried(); n > 0 && a.Sandboxes != nil {
		return waitFor(fencePeriod, "the container runtime to be asked to stop %d pods", n)
	}
	if err := a.clean(); err != nil {
		return err
	}
	a.settleStance(stance{refuse: errLeft, unhealthy: errLeft, left: true})
	a.Metrics.setLeft()
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
	// Removal is why it is being removed, if that can still be cancelled.
	Removal string `json:"removal,omitempty"`
	// Leaving: it was told to leave. Left: it has.
	Leaving bool `json:"leaving,omitempty"`
	Left    bool `json:"left,omitempty"`
	// Staying: it was told to stay, and the API does not show that yet.
	Staying bool `json:"staying,omitempty"`
	// Cancelled, in an answer to a wish to leave: that was taken back.
	Cancelled bool `json:"cancelled,omitempty"`
}

// Progress is how far the agent has come.
func (a *Agent) Progress() Progress {
	now := a.stance.Load()
	p := Progress{
		Row: now.row.String(), Peer: now.peerUID, Waiting: now.waiting, Removal: now.removal,
		Leaving: a.leaving.Load() != nil, Left: now.left, Staying: a.staying.Load(),
	}
	if err := a.permit(); err != nil {
		p.Refused = err.Error()
	}
	return p
}
