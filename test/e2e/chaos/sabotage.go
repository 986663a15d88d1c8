// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/test/e2e/chaos/chronicle"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

// tearInterval is how often the fence is torn down: agents put it up again.
const tearInterval = 20 * time.Millisecond

// tearDown does what must be noticed: a machine that runs is declared off, and
// on the others the filter is taken away that keeps its pods from being heard.
func (r *run) tearDown(ctx context.Context, _ *rand.Rand) {
	stale := r.Machines[0]
	// Until its pods have addresses there is nobody to be heard.
	for len(stale.Pods()) < podsEach && wait(ctx, tearInterval) {
	}
	stale.Freeze()
	defer stale.Thaw()
	r.counts.fault("a machine that runs is declared off")
	declared := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: stale.Name},
		Spec: v1alpha1.PeerRemovalSpec{Heir: r.Machines[1].Name, AssertDown: true}}
	if err := world.Persist(ctx, func(ctx context.Context) error { return r.Admin.Create(ctx, declared) }); err != nil {
		return
	}
	_ = r.chronicle.Await(ctx, func(v chronicle.View) bool {
		p := v.Peer(stale.Name)
		return p == nil || inventory.Phase(p) == v1alpha1.PhaseRemoved
	})
	r.counts.fault("the survivors' fence is torn down")
	every(ctx, tearInterval, func() {
		for _, m := range r.Machines[1:] {
			if err := m.Unfence(); err != nil {
				r.Journal.Say("%s: tearing the fence down: %v", m.Name, err)
			}
		}
	})
}
