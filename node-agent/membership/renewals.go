// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"time"
)

// renewals renews the Lease every third of its duration, and at once when
// there is something to report.
func (a *Agent) renewals() func(context.Context) time.Duration {
	interval := a.LeaseDuration / 3
	failed := 0
	return func(ctx context.Context) time.Duration {
		if !a.lease.Held() {
			return interval
		}
		if err := a.renewOnce(ctx); err != nil {
			if ctx.Err() != nil {
				return interval
			}
			failed++
			a.Metrics.renewals.WithLabelValues("failed").Inc()
			if failed == 1 || failed%20 == 0 || !a.lease.Held() {
				a.Log.Warn("the lease was not renewed", "error", err, "times", failed)
			}
			if !a.lease.Held() {
				a.lookSoon() // it is to be taken anew, or someone else has it
			}
			wait := min(interval, max(a.LeaseDuration/20, 100*time.Millisecond))
			return wait + a.Jitter(wait)
		}
		a.Metrics.renewals.WithLabelValues("ok").Inc()
		if failed > 0 {
			// The API is back: see at once what was missed meanwhile.
			a.Log.Info("the lease is renewed again", "failed", failed)
			failed = 0
			a.lookSoon()
		}
		return interval
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
