// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// bystander reports views, and changes nothing in them.
func bystander(t *testing.T) (*Loop, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	return &Loop{
		Applier: &Applier{Client: fake.NewClientBuilder().WithScheme(Scheme()).Build(), Now: func() time.Time { return time.Unix(5000, 0) }},
		Metrics: NewMetrics(registry), Clock: func() time.Duration { return time.Minute }, heard: heard{},
	}, registry
}

// shows compares what the registry says of some metrics.
func shows(t *testing.T, registry *prometheus.Registry, want string, names ...string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(want) {
		lines = append(lines, strings.TrimSpace(line))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var headers strings.Builder
	for _, f := range families {
		for _, name := range names {
			if f.GetName() == name {
				headers.WriteString("# HELP " + name + " " + f.GetHelp() + "\n# TYPE " + name + " gauge\n")
			}
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(headers.String()+strings.Join(lines, "\n")+"\n"), names...); err != nil {
		t.Error(err)
	}
}

// TestMetrics_Peers: a peer that does not serve has a series with the reason,
// one that is on its way out has what it waits for and since when, and one
// that serves or is gone has none.
func TestMetrics_Peers(t *testing.T) {
	loop, registry := bystander(t)
	const unready, waiting = "selvage_peer_unready", "selvage_removal_phase_start_timestamp_seconds"
	p, l, r := servingPeer("a")
	l.Name = v1alpha1.LeasePrefix + "a"
	report := func(d ownership.Decision, objects ...any) {
		t.Helper()
		loop.report(context.Background(), viewOf(objects...), &d, nil)
	}

	report(ownership.Decision{}, p, r)
	shows(t, registry, `selvage_peer_unready{peer="a",reason="LeaseNotTaken"} 1`, unready, waiting)
	p.Status.Agent.Suspended = "StateRegressed: range 10.99.0.32 shows epoch 1, and this agent has seen 2"
	report(ownership.Decision{}, p, l, r)
	shows(t, registry, `selvage_peer_unready{peer="a",reason="StateRegressed"} 1`, unready, waiting)
	p.Status.Agent.Suspended = "its disk is full: nothing is allocated"
	report(ownership.Decision{}, p, l, r)
	shows(t, registry, `selvage_peer_unready{peer="a",reason="Suspended"} 1`, unready, waiting)
	p.Status.Agent.Suspended = ""
	report(ownership.Decision{}, p, l, r)
	shows(t, registry, "", unready, waiting)

	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{}
	apimeta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionFenced, Status: metav1.ConditionFalse, Reason: ReasonNotFenced, LastTransitionTime: metav1.Unix(4000, 0),
	})
	fencing := ownership.Decision{Waits: []ownership.Wait{{Kind: kindPeer, Name: "a", Reason: "AwaitingDrain", Message: "host3 is alive"}}}
	report(fencing, p, l, r)
	shows(t, registry, `selvage_removal_phase_start_timestamp_seconds{peer="a",phase="Fencing",reason="AwaitingDrain"} 4000`, unready, waiting)
	pending := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: "b", UID: "r", CreationTimestamp: metav1.Unix(3000, 0)}}
	q, _, _ := servingPeer("b")
	report(ownership.Decision{Waits: []ownership.Wait{{Kind: kindRemoval, Name: "b", Reason: "AwaitingFormer"}}}, q, pending)
	shows(t, registry, `
		selvage_removal_phase_start_timestamp_seconds{peer="b",phase="Pending",reason="AwaitingFormer"} 3000`, waiting)

	p.Status.Phase = v1alpha1.PhaseRemoved
	report(ownership.Decision{}, p)
	shows(t, registry, "", unready, waiting)
}

// TestMetrics_Pools: what only a person can mend is 1 while it is so.
func TestMetrics_Pools(t *testing.T) {
	loop, registry := bystander(t)
	pool := &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/12", RangePrefixLength: ptr[int32](14), MaxRangePrefixLength: ptr[int32](14)},
	}
	apimeta.SetStatusCondition(&pool.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue})
	const held, exhausted = "selvage_pool_removals_held", "selvage_pool_exhausted"
	wait := []ownership.Wait{{Kind: kindPool, Name: "default", Reason: ownership.WaitExhausted}}
	for _, c := range []struct {
		d    ownership.Decision
		want string
	}{
		{ownership.Decision{}, "selvage_pool_exhausted{pool=\"default\"} 0\nselvage_pool_removals_held{pool=\"default\"} 0"},
		{ownership.Decision{Held: []string{"default"}}, "selvage_pool_exhausted{pool=\"default\"} 0\nselvage_pool_removals_held{pool=\"default\"} 1"},
		{ownership.Decision{Waits: wait}, "selvage_pool_exhausted{pool=\"default\"} 1\nselvage_pool_removals_held{pool=\"default\"} 0"},
	} {
		loop.report(context.Background(), viewOf(pool), &c.d, nil)
		shows(t, registry, c.want, held, exhausted)
	}
	// Ranges without a used address are idle, and could be given back.
	_, _, used := servingPeer("a")
	idle := used.DeepCopy()
	idle.Name, idle.Spec.CIDR, idle.Status.Used = "10.36.0.0", "10.36.0.0/14", 0
	loop.report(context.Background(), viewOf(pool, used, idle), &ownership.Decision{}, nil)
	shows(t, registry, `
		selvage_addresses{pool="default",state="assigned"} 524288
		selvage_addresses{pool="default",state="free"} 524288
		selvage_addresses{pool="default",state="idle"} 262144
		selvage_addresses{pool="default",state="reserved"} 0
		selvage_addresses{pool="default",state="total"} 1.048576e+06
		selvage_addresses{pool="default",state="used"} 31`, "selvage_addresses")
	loop.report(context.Background(), viewOf(), &ownership.Decision{}, nil)
	shows(t, registry, "", held, exhausted, "selvage_addresses")
}
