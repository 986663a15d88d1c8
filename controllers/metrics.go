// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"math/big"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Metrics are the controller's own; controller-runtime adds its queues,
// requests and caches at the same endpoint.
type Metrics struct {
	addresses *prometheus.GaugeVec
	peers     *prometheus.GaugeVec
	removals  *prometheus.CounterVec
	phases    *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	writes    *prometheus.CounterVec
	malformed *prometheus.GaugeVec
	unready   *roll
	waiting   *roll
	held      *prometheus.GaugeVec
	exhausted *prometheus.GaugeVec
	decide    prometheus.Histogram
	snapshot  *prometheus.HistogramVec
}

// NewMetrics registers the controller's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		addresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "selvage_addresses",
			Help: "Addresses of a pool by what has become of them: total, free, assigned; of those used, reserved, and idle, which are in ranges without a used one.",
		}, []string{"pool", "state"}),
		peers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "selvage_peers",
			Help: "Peers by phase: Active, Fencing, Transferring, Removed.",
		}, []string{"phase"}),
		removals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selvage_removals_total",
			Help: "Removals that this controller completed, by evidence.",
		}, []string{"evidence"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "selvage_removal_phase_seconds",
			Help:    "How long removals stayed in a phase, if this controller saw it begin and end.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2.5, 12),
		}, []string{"phase"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selvage_refused_writes_total",
			Help: "Writes that the API server refused, or whose outcome is unknown. Conflict and AlreadyExists are normal: another writer was quicker.",
		}, []string{"kind", "reason"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selvage_writes_total",
			Help: "Writes that the API server accepted.",
		}, []string{"kind"}),
		malformed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "selvage_malformed_objects",
			Help: "Objects that cannot be read as what they claim to be. An AddressRange among them stops all grants and transfers.",
		}, []string{"kind"}),
		unready: newRoll(prometheus.GaugeOpts{
			Name: "selvage_peer_unready",
			Help: "1 for each peer that does not serve and is not being removed, by the reason of its Ready condition, or what its agent says: StateRegressed, Cloned.",
		}, "peer", "reason"),
		waiting: newRoll(prometheus.GaugeOpts{
			Name: "selvage_removal_phase_start_timestamp_seconds",
			Help: "Since when each removal under way is in its phase, and what it waits for there, as its Ready condition says.",
		}, "peer", "phase", "reason"),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "selvage_pool_removals_held",
			Help: "1 while no peer of the pool is removed by itself, since too many nodes vanished at once.",
		}, []string{"pool"}),
		exhausted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "selvage_pool_exhausted",
			Help: "1 while peers lack addresses that the pool has not, not even among what other peers do not use.",
		}, []string{"pool"}),
		decide: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "selvage_decide_seconds",
			Help:    "How long one decision over the whole cluster took.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
		snapshot: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "selvage_snapshot_seconds",
			Help:    "How long a snapshot took, from the cache or consistent.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"source"}),
	}
	reg.MustRegister(m.addresses, m.peers, m.removals, m.phases, m.refused, m.writes, m.malformed,
		m.unready.GaugeVec, m.waiting.GaugeVec, m.held, m.exhausted, m.decide, m.snapshot)
	for _, e := range []ownership.Evidence{ownership.AgentAcknowledged, ownership.LeaseExpired, ownership.NodeOutOfService, ownership.Asserted, ownership.NeverJoined} {
		m.removals.WithLabelValues(string(e))
	}
	// From 0, so that the first one is an increase.
	for _, kind := range []string{kindPeer, kindRange, kindPool, kindRemoval, kindLease} {
		m.writes.WithLabelValues(kind)
		m.refused.WithLabelValues(kind, refusedConflict)
	}
	return m
}

// setPool publishes one pool's counts.
func (m *Metrics) setPool(name string, u poolUse) {
	for state, n := range map[string]*big.Int{
		"total": u.total, "assigned": u.assigned, "used": u.used, "reserved": u.reserved, "free": u.free, "idle": u.idle,
	} {
		if n != nil {
			f, _ := new(big.Float).SetInt(n).Float64()
			m.addresses.WithLabelValues(name, state).Set(f)
		}
	}
}

// dropPools forgets pools that are gone.
func (m *Metrics) dropPools(known map[string]bool, v *View) map[string]bool {
	now := make(map[string]bool, len(v.pools))
	for name := range v.pools {
		now[name] = true
	}
	for name := range known {
		if !now[name] {
			for _, vec := range []*prometheus.GaugeVec{m.addresses, m.held, m.exhausted} {
				vec.DeletePartialMatch(prometheus.Labels{"pool": name})
			}
		}
	}
	return now
}

// setView publishes what a view alone tells, and what was noted of its objects.
func (m *Metrics) setView(v *View) {
	phases := map[ownership.Phase]int{ownership.Active: 0, ownership.Fencing: 0, ownership.Transferring: 0, ownership.Removed: 0}
	for i := range v.Peers {
		phase := v.Peers[i].Phase
		if phase == "" {
			phase = ownership.Active
		}
		phases[phase]++
	}
	for phase, n := range phases {
		m.peers.WithLabelValues(string(phase)).Set(float64(n))
	}
	malformed := map[string]int{kindPeer: 0, kindRange: 0, kindPool: 0}
	for _, o := range v.Malformed {
		malformed[o.Kind]++
	}
	for kind, n := range malformed {
		m.malformed.WithLabelValues(kind).Set(float64(n))
	}
	m.unready.publish()
	m.waiting.publish()
}

// phaseClock measures how long removals stay in each phase, from one phase's
// write to the next.
type phaseClock map[string]struct {
	phase ownership.Phase
	since time.Duration
}

// moved notes that a peer entered a phase, and observes the one it left.
func (c phaseClock) moved(m *Metrics, uid string, phase ownership.Phase, now time.Duration) {
	if was, ok := c[uid]; ok {
		m.phases.WithLabelValues(string(was.phase)).Observe((now - was.since).Seconds())
	}
	delete(c, uid)
	if phase == ownership.Fencing || phase == ownership.Transferring {
		c[uid] = struct {
			phase ownership.Phase
			since time.Duration
		}{phase, now}
	}
}

// kindOf names the kind that a write is about, for metrics.
func kindOf(w ownership.Write) string {
	switch w.(type) {
	case ownership.CreateRange, ownership.UpdateRange, ownership.DeleteRange:
		return kindRange
	case ownership.UpdatePeer, ownership.UpdatePeerStatus, ownership.DeletePeer:
		return kindPeer
	case ownership.SealLease, ownership.DeleteLease:
		return kindLease
	case ownership.UpdateDeclaration:
		return kindRemoval
	case ownership.UpdatePool:
		return kindPool
	}
	return "Unknown"
}
