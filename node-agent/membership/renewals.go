// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// renewals renews the Lease every third of its duration, and at once when
// there is something to report. It runs beside the loop, so that nothing that
// the loop waits for costs a renewal.
func (a *Agent) renewals(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { a.watchUse(ctx) })
	defer wg.Wait()
	interval := a.LeaseDuration / 3
	failed := 0
	for wait := interval; ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-a.renew:
			timer.Stop()
		}
		wait = interval
		if !a.lease.Held() {
			continue
		}
		if err := a.renewOnce(ctx); err != nil && ctx.Err() == nil {
			failed++
			a.Metrics.renewals.WithLabelValues("failed").Inc()
			if failed == 1 || failed%20 == 0 || !a.lease.Held() {
				a.Log.Warn("the lease was not renewed", "error", err, "times", failed)
			}
			if !a.lease.Held() {
				a.lookSoon() // it is to be taken anew, or someone else has it
			}
			wait = min(interval, max(a.LeaseDuration/20, 100*time.Millisecond))
			wait += rand.N(wait)
			continue
		}
		a.Metrics.renewals.WithLabelValues("ok").Inc()
		if failed > 0 {
			// The API is back: see at once what was missed meanwhile.
			a.Log.Info("the lease is renewed again", "failed", failed)
			failed = 0
			a.lookSoon()
		}
	}
}

// renewOnce renews, and finds out whether the controllers have a new leader.
func (a *Agent) renewOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(callTimeout, a.LeaseDuration/2))
	defer cancel()
	if err := a.lease.Renew(ctx); err != nil {
		return err
	}
	term, err := a.readTerm(ctx)
	if err != nil {
		return nil // the next renewal asks again
	}
	if was := a.leader.Swap(&term); was == nil || *was != term {
		a.lookSoon()
	}
	return nil
}
