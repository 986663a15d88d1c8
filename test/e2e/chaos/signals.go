// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

func stopTime(c *controlplane.Component) { _ = c.Signal(syscall.SIGSTOP) }

func goOn(_ context.Context, c *controlplane.Component) error { return c.Signal(syscall.SIGCONT) }

func start(ctx context.Context, c *controlplane.Component) error { return c.Start(ctx) }

// elect has the controllers work with leader election for some time, and then
// without, so that both act at once.
func (r *run) elect(ctx context.Context, rng *rand.Rand) {
	// A leader that was killed is missed for 15 s: the time with one is shorter.
	for elect := true; wait(ctx, phase(rng, elect)); {
		elect = !elect
		r.Journal.Say("leader election: %t", elect)
		r.counts.phase(elect)
		r.restartControllers(elect)
	}
}

func phase(rng *rand.Rand, elect bool) time.Duration {
	if elect {
		return between(rng, 30*time.Second, time.Minute)
	}
	return between(rng, time.Minute, 2*time.Minute)
}

func (r *run) restartControllers(elect bool) {
	for _, c := range r.Controllers {
		_ = c.Thaw()
		c.Stop()
		if err := c.Start(elect); err != nil {
			r.Journal.Say("%s: %v", c.Name, err)
		}
	}
}

// whole waits for what faults have left behind.
func (r *run) whole(ctx context.Context) error {
	for _, c := range append([]*controlplane.Component{r.Plane.Etcd}, r.Servers...) {
		if err := world.Persist(ctx, c.Start); err != nil {
			return err
		}
	}
	r.restartControllers(true)
	return nil
}
