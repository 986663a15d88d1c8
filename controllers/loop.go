// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/selvage-net/selvage/controllers/ownership"
)

const (
	// resync is the longest time without a look at everything, and about how
	// often the API server is asked for its revision.
	resync = 10 * time.Second
	// soon is how long to wait after another writer was quicker, randomised
	// so that two writers do not meet again for ever.
	soon = 50 * time.Millisecond
	// rounds is how many consistent passes may follow each other without a
	// pause: far more than any plan needs.
	rounds = 64
)

// Loop looks at the whole cluster and does what ownership.Decide says. Any
// number of loops may run at once: safety rests on what each write carries.
//
// A pass begins on the watch caches. Only if something is to be written does
// it read everything again, consistently, and decide anew on that.
//
// The Memory is fed with both kinds of view. That is safe: it notes since when
// a resourceVersion has been seen, every resourceVersion is unique, and so one
// that a cache showed at some time and a consistent LIST shows later has stood
// all the while in between. A cache that lags can only make what it shows look
// younger. And it is a consistent view on which expiry is acted, by a write
// on exactly the resourceVersion that it shows.
type Loop struct {
	Reader    *Reader
	Applier   *Applier
	Announcer *Announcer
	Metrics   *Metrics
	Config    ownership.Config
	// Clock is monotonic: time since some moment of this process.
	Clock func() time.Duration
	// Jitter is a random time below d; nil: rand.N.
	Jitter func(d time.Duration) time.Duration
	// Regressed is told, once, that etcd was restored from a backup, and ends
	// this term of leadership. Nothing is written any more.
	Regressed func(error)

	memory *ownership.Memory
	seen   continuity
	ended  error // why the term has
	heard  heard
	phases phaseClock
	pools  map[string]bool
	status statusWriter

	// direct: the next pass begins with a consistent view, since the last
	// one has written, and the caches lag behind.
	direct  bool
	inARow  int
	podsOn  []string
	lasted  atomic.Int64 // the last pass, in nanoseconds
	started atomic.Int64 // the running pass, on the clock; 0: none
}

// Reconcile makes one pass. The request says nothing: there is one loop.
func (l *Loop) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	began := l.Clock()
	l.started.Store(int64(max(began, 1)))
	defer func() {
		l.lasted.Store(int64(l.Clock() - began))
		l.started.Store(0)
	}()
	if l.memory == nil {
		l.memory, l.heard, l.phases = ownership.NewMemory(), heard{}, phaseClock{}
	}
	if l.Jitter == nil {
		l.Jitter = rand.N[time.Duration]
	}
	if l.ended != nil {
		return reconcile.Result{}, reconcile.TerminalError(l.ended)
	}
	again, err := l.pass(ctx)
	if err != nil {
		// Whatever failed, what is known may be stale.
		l.direct = true
		if ctx.Err() != nil {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

func (l *Loop) pass(ctx context.Context) (time.Duration, error) {
	if err := l.compare(ctx); err != nil {
		return 0, err
	}
	if !l.direct {
		v, err := l.view(ctx, "cache", l.Reader.FromCache)
		if err != nil {
			return 0, err
		}
		d := l.decide(v)
		l.podsOn = d.ListPods
		if len(d.Writes) == 0 && len(d.ListPods) == 0 {
			l.inARow = 0
			l.Announcer.Announce(withNodes(v, d.Events), nil, l.Clock())
			again, conclude := l.report(ctx, v, &d, nil)
			if !conclude {
				return l.next(&d, again), nil
			}
		}
	}
	l.direct = false
	return l.act(ctx)
}

// act decides on a consistent view and applies the writes.
func (l *Loop) act(ctx context.Context) (time.Duration, error) {
	v, d, err := l.consistent(ctx)
	if err != nil {
		return 0, err
	}
	if err := v.Frozen(); err != nil {
		log.FromContext(ctx).Error(err, "deciding nothing")
		d = ownership.Decision{Waits: d.Waits}
	}
	outcomes := l.Applier.Apply(ctx, v, d.Writes)
	l.seen.wrote(outcomes)
	l.Announcer.Announce(withNodes(v, d.Events), outcomes, l.Clock())
	done, lost, err := l.settle(ctx, outcomes)
	again, _ := l.report(ctx, v, &d, outcomes)
	if err != nil {
		return 0, err
	}
	l.podsOn = d.ListPods
	switch {
	case done > 0 && l.inARow < rounds:
		l.inARow++
		l.direct = true
		return time.Millisecond, nil
	case done > 0 || lost > 0:
		l.inARow = 0
		l.direct = lost > 0
		return soon + l.Jitter(4*soon), nil
	}
	l.inARow = 0
	return l.next(&d, again), nil
}

// consistent takes a consistent view with the pods that the decision on it
// asks for.
func (l *Loop) consistent(ctx context.Context) (*View, ownership.Decision, error) {
	podsOn := l.podsOn
	for {
		v, err := l.view(ctx, "consistent", func(ctx context.Context) (*View, error) {
			return l.Reader.Consistent(ctx, podsOn)
		})
		if err == nil {
			err = l.end(l.seen.check(v, l.Config.Term != "", l.Clock()))
		}
		if err != nil {
			return nil, ownership.Decision{}, err
		}
		d := l.decide(v)
		more := podsOn
		for _, node := range d.ListPods {
			if !v.PodsListed[node] {
				more = append(more, node)
			}
		}
		if len(more) == len(podsOn) {
			return v, d, nil
		}
		podsOn = more
	}
}

// compare asks the API server now and then how far it is, whatever caches say.
func (l *Loop) compare(ctx context.Context) error {
	if !l.seen.due(l.Clock()) {
		return nil
	}
	revision, err := l.Reader.Revision(ctx)
	if err != nil {
		return err
	}
	return l.end(l.seen.checkRevision(revision, l.Clock()))
}

// end ends the term if there is a reason to.
func (l *Loop) end(why error) error {
	if why != nil {
		l.ended = why
		if l.Regressed != nil {
			l.Regressed(why)
		}
	}
	return why
}

func (l *Loop) view(ctx context.Context, source string, take func(context.Context) (*View, error)) (*View, error) {
	began := l.Clock()
	v, err := take(ctx)
	if err != nil {
		return nil, err
	}
	l.Metrics.snapshot.WithLabelValues(source).Observe((l.Clock() - began).Seconds())
	for _, m := range v.Malformed {
		log.FromContext(ctx).Error(m.Err, "an object cannot be read", "object", m.Kind+"/"+m.Name)
	}
	return v, nil
}

func (l *Loop) decide(v *View) ownership.Decision {
	now := l.Clock()
	l.heard.observe(v, now)
	l.seen.note(v)
	l.memory.Observe(&v.Snapshot, now)
	d := ownership.Decide(&v.Snapshot, l.memory, now, l.Config)
	l.Metrics.decide.Observe((l.Clock() - now).Seconds())
	return d
}

// settle accounts for what became of the writes. An error is something that
// trying again at once will not mend.
func (l *Loop) settle(ctx context.Context, outcomes []Outcome) (done, lost int, err error) {
	logger := log.FromContext(ctx)
	for _, o := range outcomes {
		if o.Skipped {
			continue
		}
		kind := kindOf(o.Write)
		logger := logger.WithValues("object", o.Write.Subject(), "write", o.Write.String())
		if o.Err == nil {
			done++
			l.Metrics.writes.WithLabelValues(kind).Inc()
			l.count(o.Write)
			logger.Info("written")
			continue
		}
		reason := refusal(o.Err)
		l.Metrics.refused.WithLabelValues(kind, reason).Inc()
		switch {
		case ctx.Err() != nil:
		case raced(reason):
			lost++
			logger.V(1).Info("another writer was quicker", "reason", reason, "error", o.Err.Error())
		case reason == refusedUnknown:
			// It may have happened: look again before anything else.
			lost++
			logger.Info("the outcome of a write is unknown", "error", o.Err.Error())
		default:
			logger.Error(o.Err, "refused", "reason", reason)
			err = fmt.Errorf("%s: %w", o.Write.String(), o.Err)
		}
	}
	return done, lost, err
}

// count feeds the metrics about removals.
func (l *Loop) count(w ownership.Write) {
	switch w := w.(type) {
	case ownership.UpdatePeer:
		if w.Before.Removal != nil && w.After.Removal == nil {
			l.phases.moved(l.Metrics, w.After.UID, ownership.Active, l.Clock())
		} else if w.Before.Removal == nil && w.After.Removal != nil {
			l.phases.moved(l.Metrics, w.After.UID, ownership.Fencing, l.Clock())
		}
	case ownership.UpdatePeerStatus:
		if w.Before.Phase == w.After.Phase {
			return
		}
		if w.After.Phase != ownership.Fencing {
			l.phases.moved(l.Metrics, w.After.UID, w.After.Phase, l.Clock())
		}
		if w.After.Phase == ownership.Removed && w.After.Result != nil {
			l.Metrics.removals.WithLabelValues(string(w.After.Result.Evidence)).Inc()
		}
	}
}

// next is when to look again though no watch reports a change.
func (l *Loop) next(d *ownership.Decision, again time.Duration) time.Duration {
	now := l.Clock()
	earliest := now + resync
	if again > 0 {
		earliest = min(earliest, now+again)
	}
	if d.Recheck > 0 {
		earliest = min(earliest, d.Recheck)
	}
	for _, w := range d.Waits {
		if w.Until > 0 {
			earliest = min(earliest, w.Until)
		}
	}
	// Never sooner than what a pass costs: time itself must not keep the
	// loop busy.
	return max(earliest-now, soon, 2*time.Duration(l.lasted.Load()))
}

// Alive fails if a pass has been stuck for so long that only a restart helps.
func (l *Loop) Alive(stuck time.Duration) error {
	if began := time.Duration(l.started.Load()); began > 0 && l.Clock()-began > stuck {
		return fmt.Errorf("a pass has been running for %s", (l.Clock() - began).Round(time.Second))
	}
	return nil
}

func isGone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }
