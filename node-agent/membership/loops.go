// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"sync"
	"time"
)

// Loop is one of the agent's loops: a plain function that goes round once, and
// what has it go round again. Loops run beside each other, so that none waits
// for what another waits for.
type Loop struct {
	Name string
	// Step goes round once. It returns how long to wait without news.
	Step func(ctx context.Context) time.Duration
	// First is how long to wait before the first round.
	First time.Duration
	// News has it go round earlier; nil: there is none.
	News <-chan struct{}
	// Settle is how long to wait for more of the same news.
	Settle time.Duration
}

// settle is how long a loop waits for more of the same news.
const settle = 25 * time.Millisecond

// Loops are all of the agent's loops. Run runs them.
func (a *Agent) Loops() []Loop {
	loops := []Loop{
		{Name: "membership", Step: a.step, News: a.kicked, Settle: settle},
		{Name: "lease", Step: a.renewals(), First: a.LeaseDuration / 3, News: a.renew},
		{Name: "use", Step: a.watchUse(), First: soon},
	}
	if a.Sandboxes != nil {
		loops = append(loops, Loop{Name: "evictions", Step: a.evict, News: a.evictions.news, Settle: settle})
	}
	return loops
}

// Run serves until ctx ends, after Adopt. It leaves the kernel as it is.
func (a *Agent) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, l := range a.Loops() {
		wg.Go(func() { l.run(ctx) })
	}
	if err := a.Cache.Run(ctx, a.Kick); err != nil && ctx.Err() == nil {
		a.Log.Error("watching the API has ended", "error", err)
	}
	<-ctx.Done()
	return nil
}

func (l *Loop) run(ctx context.Context) {
	for wait := l.First; ; wait = l.Step(ctx) {
		l.pause(ctx, wait)
		if ctx.Err() != nil {
			return
		}
	}
}

// pause waits for news, at most so long.
func (l *Loop) pause(ctx context.Context, again time.Duration) {
	timer := time.NewTimer(again)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-l.News:
	}
	if l.Settle == 0 {
		return
	}
	timer.Reset(l.Settle)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
