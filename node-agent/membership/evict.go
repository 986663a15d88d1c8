// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Sandboxes stops pods. The kubelet makes them anew, with new addresses.
type Sandboxes interface {
	// Stop ends a sandbox; nil if there is none of that id.
	Stop(ctx context.Context, id string) error
}

const (
	// stopTimeout bounds one call of the container runtime.
	stopTimeout = 30 * time.Second
	// stopsAtOnce is how many calls it gets at the same time.
	stopsAtOnce = 4
	// stopAgain is when a sandbox that was stopped, and has an interface all the
	// same, is asked to stop again.
	stopAgain = time.Minute
	// firstRetry and lastRetry bound the wait after a call that failed.
	firstRetry = time.Second
	lastRetry  = 2 * time.Minute
)

// evictions are the sandboxes of pods that were cut off, until their interfaces
// are gone. What is lost with the process is found again by who cuts off. It is
// safe for concurrent use.
type evictions struct {
	news chan struct{}

	mu      sync.Mutex
	waiting map[string]*eviction // by the sandbox's id
}

type eviction struct {
	pod string
	// tries are the calls that failed in a row; tried: there was one at all.
	tries int
	tried bool
	due   time.Duration // on the agent's clock
}

func newEvictions() evictions {
	return evictions{news: make(chan struct{}, 1), waiting: map[string]*eviction{}}
}

// add has a sandbox stopped, if it is not on the list.
func (e *evictions) add(sandbox, pod string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting[sandbox] != nil {
		return
	}
	e.waiting[sandbox] = &eviction{pod: pod}
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// drop takes a sandbox off the list: it is to live on.
func (e *evictions) drop(sandbox string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiting, sandbox)
}

// untried is how many have not been asked to stop at all.
func (e *evictions) untried() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.waiting {
		if !v.tried {
			n++
		}
	}
	return n
}

// ready drops those that were tried and have no interface any more, and returns
// those that are due, how long it is to the next, and how many there are.
func (e *evictions) ready(there map[string]bool, now time.Duration) (due []string, next time.Duration, all int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next = lastRetry
	for id, v := range e.waiting {
		switch {
		case v.tried && !there[id]:
			delete(e.waiting, id)
		case v.due <= now:
			due = append(due, id)
		default:
			next = min(next, v.due-now)
		}
	}
	slices.Sort(due)
	return due, next, len(e.waiting)
}

// tried notes what became of a call. It returns the pod's name, and whether
// this is the first failure in a row.
func (e *evictions) tried(id string, err error, now time.Duration) (pod string, first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := e.waiting[id]
	if v == nil {
		return "", false // it was to live on after all
	}
	v.tried = true
	if err == nil {
		v.tries, v.due = 0, now+stopAgain
		return v.pod, false
	}
	v.due = now + min(lastRetry, firstRetry<<min(v.tries, 10))
	v.tries++
	return v.pod, v.tries == 1
}

// evict asks the runtime to stop those that are due, and returns how long it is
// to the next. A runtime that hangs holds nothing else up, since the links are
// down already.
func (a *Agent) evict(ctx context.Context) time.Duration {
	attachments, err := a.Kernel.Dump()
	if err != nil {
		a.Log.Warn("cannot see which pods are left to be stopped", "error", err)
		return firstRetry
	}
	there := make(map[string]bool, len(attachments))
	for _, at := range attachments {
		there[at.Sandbox] = true
	}
	due, next, all := a.evictions.ready(there, a.Clock.Now())
	a.Metrics.stopping.Set(float64(all))
	if len(due) == 0 {
		return next
	}
	var said stopReport
	var calls errgroup.Group
	calls.SetLimit(stopsAtOnce)
	for _, id := range due {
		calls.Go(func() error {
			a.stopSandbox(ctx, id, &said)
			return nil
		})
	}
	_ = calls.Wait()
	a.tellStopped(ctx, &said)
	a.Kick()
	return 0
}

func (a *Agent) stopSandbox(ctx context.Context, id string, said *stopReport) {
	if ctx.Err() != nil {
		return
	}
	call, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	about := a.podOf(call, id)
	err := a.Sandboxes.Stop(call, id)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = errSlowRuntime
	}
	pod, first := a.evictions.tried(id, err, a.Clock.Now())
	if err == nil {
		a.Metrics.stops.WithLabelValues("stopped").Inc()
		a.Log.Info("stopped a pod that was cut off, so that it is made anew", "pod", pod, "sandbox", id)
		said.note(pod, nil)
		a.tellPod(about, pod, "its address is not this node's any more: its sandbox was stopped, and the kubelet makes it anew")
		return
	}
	a.Metrics.stops.WithLabelValues("failed").Inc()
	if first && ctx.Err() == nil {
		a.Log.Warn("the container runtime did not stop a pod; its network is down all the same", "pod", pod, "sandbox", id, "error", err)
		said.note(pod, err)
		a.tellPod(about, pod, "its address is not this node's any more, so it has no network; the container runtime did not stop it: "+err.Error())
	}
}

var errSlowRuntime = errors.New("the container runtime did not answer within " + stopTimeout.String())
