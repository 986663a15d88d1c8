// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Lease is this run's hold on the peer's Lease: what allows it to allocate.
// Every write of it is a compare-and-swap. It is safe for concurrent use.
type Lease struct {
	client   client.Client
	clock    Clock
	key      client.ObjectKey
	run      string
	duration time.Duration

	// mu guards what follows and is never held across a request, so that the
	// gate never waits for the API.
	mu sync.Mutex
	// busy: a request is under way. There is one at a time, and nobody waits
	// for another's.
	busy bool
	// held is the Lease as last written or read; nil: not held, for reason why.
	held *coordinationv1.Lease
	why  error
	// uncertain: a write may or may not have happened.
	uncertain bool
	// cloned, once set, stays: another run of this uid is awake.
	cloned bool
	// validUntil is on clock: just before the last successful renewal was
	// sent, plus duration, less margin.
	validUntil time.Duration
	uid        string
	// former are earlier runs on this machine. They have ended: where the Lease
	// shows one of them again, the API has gone back in time.
	former  []string
	watched watchedLease
	// report and term are what the next write is to say.
	report []string
	term   string
}

// watchedLease is a Lease of a stranger, watched until it has run out.
type watchedLease struct {
	version string
	since   time.Duration
}

// errNotTaken: the reason before the first taking.
var errNotTaken = errors.New("this agent has not taken its lease yet")

// errBusy: another request about the Lease is under way. It is tried again.
var errBusy = errors.New("another request about the lease is under way")

// NewLease returns a Lease that is not held.
func NewLease(c client.Client, clock Clock, namespace, peer, run string, duration time.Duration) *Lease {
	return &Lease{
		client: c, clock: clock, run: run, duration: duration, why: errNotTaken,
		key: client.ObjectKey{Namespace: namespace, Name: v1alpha1.LeasePrefix + peer},
	}
}

// margin is how much earlier the holder stops than an observer would.
func margin(duration time.Duration) time.Duration { return duration / 10 }

// Valid is the gate: nil while this run may allocate.
func (l *Lease) Valid() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		return l.why
	}
	if over := l.clock.Now() - l.validUntil; over >= 0 {
		return fmt.Errorf("its lease ran out %s ago and the API server has not confirmed a renewal since", over.Round(time.Millisecond))
	}
	return nil
}

// Held reports whether this run holds the Lease, as far as it knows. It may
// have run out all the same: an expired but unsealed Lease is renewed.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held != nil
}

// Cloned reports whether another run of the same incarnation is awake.
func (l *Lease) Cloned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cloned
}

// Drop ends the hold without a write, as when another incarnation is joined.
func (l *Lease) Drop(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.why = nil, why
}

// Read is the Lease as it is; nil: there is none. It comes before the LISTs
// that taking it rests on.
func (l *Lease) Read(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := l.client.Get(ctx, l.key, lease)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Lease %s: %w", l.key, err)
	}
	return lease, nil
}

// Takeable says whether this run of that incarnation may take the Lease that
// was read, and if not, why.
func (l *Lease) Takeable(read *coordinationv1.Lease, uid string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch holder := holderOf(read); {
	case l.cloned:
		return errCloned
	case holder.sealed || holder.uid == uid || holder.uid == "":
		return nil
	default:
		return l.watch(read, holder)
	}
}

// watch lets a Lease of another incarnation be taken once it was seen
// unchanged for all its duration and a margin: by then its holder has stopped
// of itself, and taking exactly what was read keeps it so.
func (l *Lease) watch(read *coordinationv1.Lease, holder holder) error {
	now := l.clock.Now()
	if l.watched.version != read.ResourceVersion {
		l.watched = watchedLease{version: read.ResourceVersion, since: now}
	}
	duration := durationOf(read, l.duration)
	left := l.watched.since + duration + margin(duration) - now
	if left <= 0 {
		return nil
	}
	return fmt.Errorf("the lease, which another incarnation (%s) holds, to be sealed, or to be seen unchanged for %s",
		holder.uid, duration+margin(duration))
}

// begin begins a request, if none is under way.
func (l *Lease) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		return errBusy
	}
	l.busy = true
	return nil
}

func (l *Lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
}

// Place makes a Lease that is absent, sealed: to be taken, it is read next. It
// is never created as held. Absence has no version, so that it may have ended
// and begun again since it was read: with a removal, and the deletion of what
// was sealed for it, in between.
func (l *Lease) Place(ctx context.Context) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	holder, seconds, now := v1alpha1.SealedHolder, int32(l.duration/time.Second), metav1.NewMicroTime(time.Now())
	err := l.client.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.key.Namespace, Name: l.key.Name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating Lease %s: %w", l.key, err)
	}
	return nil
}

// Ended says which runs of this machine's have ended.
func (l *Lease) Ended(runs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.former = runs
}

// Take writes this run into exactly the Lease that was read. It rests on LISTs
// made after that, whose removed incarnations are cut off: they are the report.
func (l *Lease) Take(ctx context.Context, read *coordinationv1.Lease, uid string, report []string, term string) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	next := read.DeepCopy()
	l.mu.Lock()
	l.uid, l.report, l.term = uid, slices.Clone(report), term
	delete(next.Annotations, v1alpha1.SealedForAnnotation)
	l.fill(next)
	now := metav1.NewMicroTime(time.Now())
	next.Spec.AcquireTime = &now
	l.mu.Unlock()

	sent := l.clock.Now()
	// With the uid and the version that were read: the API server would create
	// a Lease that is gone, if it were not for the uid.
	if err := l.client.Update(ctx, next); err != nil {
		return fmt.Errorf("taking Lease %s: %w", l.key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watched = watchedLease{}
	l.renewed(next, sent)
	return nil
}

// fill writes what every renewal says.
func (l *Lease) fill(lease *coordinationv1.Lease) {
	holder, seconds, now := l.uid+"/"+l.run, int32(l.duration/time.Second), metav1.NewMicroTime(time.Now())
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &holder, &seconds, &now
	annotate(lease, v1alpha1.CutOffAnnotation, joinUIDs(l.report))
	annotate(lease, v1alpha1.TermAnnotation, l.term)
}

func (l *Lease) renewed(lease *coordinationv1.Lease, sent time.Duration) {
	l.held, l.why, l.uncertain = lease, nil, false
	l.validUntil = sent + l.duration - margin(l.duration)
}

// Say sets what the next write reports; it reports whether that is news.
func (l *Lease) Say(report []string, term string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report, l.term = slices.Clone(report), term
	if l.held == nil {
		return false
	}
	return l.held.Annotations[v1alpha1.CutOffAnnotation] != joinUIDs(report) ||
		l.held.Annotations[v1alpha1.TermAnnotation] != term
}

// Renew renews a Lease that is held. After an error it may be held or not. A
// hold that was dropped meanwhile stays dropped.
func (l *Lease) Renew(ctx context.Context) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	held, err := l.certain(ctx)
	if err != nil {
		return err
	}
	next := held.DeepCopy()
	l.mu.Lock()
	l.fill(next)
	l.mu.Unlock()

	sent := l.clock.Now()
	err = l.client.Update(ctx, next)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		if _, err := l.reread(ctx, held); err != nil {
			return err
		}
		return fmt.Errorf("renewing Lease %s: %w", l.key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		// It may have happened: read before writing again.
		l.uncertain = true
		return fmt.Errorf("renewing Lease %s: %w", l.key, err)
	}
	if l.held != held {
		return l.why
	}
	l.renewed(next, sent)
	return nil
}

// certain is the Lease that is held, read again if a write of it may or may not
// have happened.
func (l *Lease) certain(ctx context.Context) (*coordinationv1.Lease, error) {
	l.mu.Lock()
	held, why, uncertain := l.held, l.why, l.uncertain
	l.mu.Unlock()
	switch {
	case held == nil:
		return nil, why
	case uncertain:
		return l.reread(ctx, held)
	}
	return held, nil
}

// reread finds out who holds the Lease. An error that satisfies neither
// IsConflict nor another of the API's means: it is not this run.
func (l *Lease) reread(ctx context.Context, held *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	read, err := l.Read(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.uncertain = true
		return nil, err
	}
	if l.held != held {
		return nil, l.why
	}
	holder := holderOf(read)
	switch {
	case read == nil:
		l.held, l.why = nil, errors.New("its lease is gone and has to be taken anew")
	case holder.sealed:
		l.held, l.why = nil, errors.New("its lease is sealed and has to be taken anew")
	case holder.uid == l.uid && holder.run == l.run:
		l.held, l.uncertain = read, false
		return read, nil
	case holder.uid == l.uid && slices.Contains(l.former, holder.run):
		l.held, l.why = nil, errors.New("its lease shows an earlier run of this agent (was etcd restored from a backup?) and has to be taken anew")
	case holder.uid == l.uid:
		l.held, l.why, l.cloned = nil, errCloned, true
	default:
		l.held, l.why = nil, fmt.Errorf("its lease is held by another incarnation (%s)", holder.uid)
	}
	return nil, l.why
}
