// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

const (
	// lookTimeout bounds one consistent view.
	lookTimeout = 20 * time.Second
	// callTimeout bounds one request.
	callTimeout = 10 * time.Second
	// idlePeriod is how long the loop waits if there is no news.
	idlePeriod = 30 * time.Second
	// unsyncedPeriod is the same while the caches are not complete, and every
	// view is a LIST.
	unsyncedPeriod = 2 * time.Second
	// resyncPeriod is how often the kernel is compared with what it should be
	// although nothing has changed here: others change it too.
	resyncPeriod = 30 * time.Second
	maxBackoff   = 5 * time.Second
)

// sight is a consistent view, and what was read before it.
type sight struct {
	View
	// lease is the peer's, nil if there was none. Both are only of use if
	// the view is consistent.
	lease *coordinationv1.Lease
	term  string
}

// errAgain is no failure: the loop goes round at once, with a consistent view.
var errAgain = errors.New("once more, with a consistent view")

// step goes round once. It returns how long to wait without news.
func (a *Agent) step(ctx context.Context) time.Duration {
	err := a.once(ctx)
	switch {
	case err == nil:
		a.failing, a.rounds = 0, 0
		if _, synced := a.Cache.View(ctx); !synced {
			return unsyncedPeriod
		}
		if a.due > 0 {
			return min(idlePeriod, a.due)
		}
		return idlePeriod
	case errors.Is(err, errAgain):
		a.mustLook.Store(true)
		a.rounds++ // whatever it is, it does not run hot
		return settle << min(a.rounds, 6)
	case ctx.Err() != nil:
		return 0
	}
	var wait *waitError
	if errors.As(err, &wait) {
		a.wait(wait.text)
		a.failing = 0
		return wait.again
	}
	a.failing++
	a.Metrics.failures.Inc()
	if a.failing == 1 || a.failing%20 == 0 {
		a.Log.Warn("will try again", "row", a.row, "error", err, "times", a.failing)
	}
	if isMissingKind(err) && a.seen {
		// Whatever said that this peer owns anything is gone.
		now := *a.stance.Load()
		now.refuse, now.waiting = err, err.Error()
		a.publish(now)
	}
	if !a.seen {
		a.wait(fmt.Sprintf("the API server: %v", err))
	}
	backoff := min(maxBackoff, 100*time.Millisecond<<min(a.failing, 6))
	return backoff/2 + a.Jitter(backoff)
}

// waitError says what the loop waits for, and when it looks again by itself.
type waitError struct {
	text  string
	again time.Duration
}

func (w *waitError) Error() string { return w.text }

func waitFor(again time.Duration, format string, args ...any) error {
	return &waitError{text: fmt.Sprintf(format, args...), again: again}
}

// wait publishes what is being waited for.
func (a *Agent) wait(text string) {
	now := *a.stance.Load()
	now.waiting = text
	a.publish(now)
}

// publish sets the stance, and logs what is being waited for once, and says on
// the Node what keeps pods from starting there.
func (a *Agent) publish(next stance) {
	a.stance.Store(&next)
	a.announce(&next)
	if next.waiting != a.waited {
		a.waited = next.waiting
		if next.waiting != "" {
			a.Log.Info("waiting", "row", next.row, "for", next.waiting)
		}
	}
}

// once looks, decides and acts.
func (a *Agent) once(ctx context.Context) error {
	a.due = 0
	if a.stance.Load().left {
		return nil
	}
	s, err := a.view(ctx)
	if err != nil {
		return err
	}
	row := Decide(situation(&s.View, a.Name, a.Store.Record(), a.machine))
	if (row != a.row || !a.seen) && !s.Consistent {
		return errAgain
	}
	if row != a.row || !a.seen {
		a.Log.Info("row", "is", row, "was", a.row)
		a.Metrics.setRow(row)
		a.unlinked = true
	}
	a.row, a.seen = row, true
	if err := a.leave(s); err != nil || a.stance.Load().left {
		return err
	}
	return a.act(ctx, s)
}

// act does what the row says.
func (a *Agent) act(ctx context.Context, s *sight) error {
	switch a.row {
	case Resume:
		return a.resume(ctx, s)
	case Suspended:
		return a.suspend(ctx, s)
	case Fenced:
		return a.fence(ctx, s)
	case Scratch:
		return a.scratch(ctx, s)
	case DeclaredOut:
		return a.stayOut(s)
	case Contend:
		return a.contend(ctx, s)
	}
	return a.standStill(s)
}

// view is the cache's view, or a consistent one if that is asked for or the
// cache is not complete.
func (a *Agent) view(ctx context.Context) (*sight, error) {
	if a.seen && !a.mustLook.Load() && !a.compareDue() {
		if v, complete := a.Cache.View(ctx); complete {
			a.noteNode(&v)
			return &sight{View: v}, nil
		}
	}
	a.mustLook.Store(false)
	s, err := a.look(ctx)
	if err != nil {
		a.mustLook.Store(true)
	}
	return s, err
}

// comparePeriod is how often at least an agent that renews no Lease looks
// consistently: one that does notices by that, if etcd was restored.
const comparePeriod = 30 * time.Second

// compareDue reports whether it is time to.
func (a *Agent) compareDue() bool {
	return !a.lease.Held() && a.Clock.Now()-a.lookedAt >= comparePeriod
}

// look reads the Lease, then makes consistent LISTs.
func (a *Agent) look(ctx context.Context) (*sight, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	lease, err := a.lease.Read(ctx)
	if err != nil {
		return nil, err
	}
	term, err := a.readTerm(ctx)
	if err != nil {
		return nil, err
	}
	cached, complete := a.Cache.View(ctx)
	v, err := look(ctx, a.Client, a.Name, true)
	if err != nil {
		return nil, err
	}
	a.lookedAt = a.Clock.Now()
	if resets, can := a.Cache.(interface{ Reset() }); can && complete && v.before(cached.newest()) {
		a.Log.Warn("the API server is at an earlier revision than before: was etcd restored from a backup? Watching anew",
			"revision", v.Revision, "before", cached.newest())
		resets.Reset()
	}
	a.noteNode(&v)
	machine, err := a.Machine()
	if err != nil {
		return nil, err
	}
	if !machine.IsZero() {
		a.machine = machine
	}
	if a.machine.IsZero() {
		return nil, waitFor(5*time.Second, "a network interface: nothing tells this machine from others")
	}
	a.leader.Store(&term)
	return &sight{View: v, lease: lease, term: term}, nil
}

func (a *Agent) noteNode(v *View) {
	if uid := v.nodeUID(); uid != "" {
		a.nodeUID = uid
		a.nodeID.Store(uid)
	}
}

// readTerm is the holder of the controllers' leader Lease; empty: none.
func (a *Agent) readTerm(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: v1alpha1.LeaderLease}, lease)
	if apierrors.IsNotFound(err) || (err == nil && lease.Spec.HolderIdentity == nil) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the controllers' leader Lease: %w", err)
	}
	return *lease.Spec.HolderIdentity, nil
}

// settleStance publishes the row, and why nothing is allocated.
func (a *Agent) settleStance(next stance) {
	next.row = a.row
	a.publish(next)
}

// stillWaiting is what this row was waiting for in its last round.
func (a *Agent) stillWaiting() string {
	if now := a.stance.Load(); now.row == a.row {
		return now.waiting
	}
	return ""
}

// standStill is for StateRegressed: pods keep running, nothing is allocated.
func (a *Agent) standStill(s *sight) error {
	record := a.Store.Record()
	text := fmt.Sprintf("StateRegressed: this node joined as %s, and the API server has no Peer %s any more although it was never removed "+
		"(was etcd restored from a backup, or a CRD deleted?). Pods keep running, nothing is allocated. Restore the objects, "+
		"or give up what this node was: selvage-agent reset", record.PeerUID, a.Name)
	a.settleStance(stance{refuse: errors.New(text), waiting: text, peerUID: record.PeerUID})
	if a.world == nil || !a.world.complete {
		return nil
	}
	a.world.fold(&s.View, a.Clock.Now(), false, record)
	if err := a.setKernel(a.world.desired(a.Name, a.underlay, a.pools, record)); err != nil {
		return err
	}
	if a.lease.Held() {
		a.sayOnLease() // others' removals do not wait for what a person decides here
	}
	return nil
}
