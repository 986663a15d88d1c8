// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/selvage-net/selvage/node-agent/addresses"
)

// Metrics are what an agent counts.
type Metrics struct {
	row            *prometheus.GaugeVec
	renewals       *prometheus.CounterVec
	writes         *prometheus.CounterVec
	failures       prometheus.Counter
	kernelFailures prometheus.Counter
	cutOff         prometheus.Counter
	stops          *prometheus.CounterVec
	stopping       prometheus.Gauge
	capacity       *prometheus.GaugeVec
	used           *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "selvage", Subsystem: "agent", Name: name, Help: help}
	}
	m := &Metrics{
		row: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("row", "1 for the row of the start-up table that holds now.")), []string{"row"}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts(opts("lease_renewals_total", "Renewals of the Lease, by result.")),
			[]string{"result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts(opts("writes_total", "Creates and patches sent, by resource; without the Lease's.")),
			[]string{"resource"}),
		failures:       prometheus.NewCounter(prometheus.CounterOpts(opts("failures_total", "Rounds of the agent's loop that failed."))),
		kernelFailures: prometheus.NewCounter(prometheus.CounterOpts(opts("datapath_failures_total", "Times that the datapath could not be set."))),
		cutOff:         prometheus.NewCounter(prometheus.CounterOpts(opts("cut_off_pods_total", "Pods whose link was taken down, since their address is not theirs any more."))),
		stops: prometheus.NewCounterVec(prometheus.CounterOpts(opts("sandbox_stops_total", "Times that the container runtime was asked to stop the sandbox of a pod that was cut off, by result.")),
			[]string{"result"}),
		stopping: prometheus.NewGauge(prometheus.GaugeOpts(opts("sandboxes_to_stop", "Pods that were cut off and whose sandbox is still there."))),
		capacity: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("pool_capacity_addresses", "Addresses that can be given to pods, used ones included.")),
			[]string{"pool"}),
		used: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("pool_used_addresses", "Addresses that pods hold.")), []string{"pool"}),
	}
	for _, c := range []prometheus.Collector{m.row, m.renewals, m.writes, m.failures, m.kernelFailures, m.cutOff, m.stops, m.stopping, m.capacity, m.used} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering the agent's metrics: %w", err)
		}
	}
	// From 0, so that the first one is an increase.
	m.renewals.WithLabelValues("ok")
	m.renewals.WithLabelValues("failed")
	m.setRow(Unreachable)
	return m, nil
}

func (m *Metrics) setRow(now Row) {
	for _, row := range Rows() {
		value := 0.0
		if row == now {
			value = 1
		}
		m.row.WithLabelValues(row.String()).Set(value)
	}
}

// setLeft is for an agent that has left and runs on: no row holds any more.
func (m *Metrics) setLeft() {
	for _, row := range Rows() {
		m.row.WithLabelValues(row.String()).Set(0)
	}
}

func (m *Metrics) setPool(name string, use addresses.PoolUse) {
	m.capacity.WithLabelValues(name).Set(float64(use.Capacity))
	m.used.WithLabelValues(name).Set(float64(use.Used))
}
