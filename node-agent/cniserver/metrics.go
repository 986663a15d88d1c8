// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count the calls of the CNI plugin.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "selvage", Subsystem: "cni", Name: "requests_total",
			Help: "Calls of the CNI plugin, by verb and result: ok, or the error's code.",
		}, []string{"verb", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "selvage", Subsystem: "cni", Name: "request_duration_seconds",
			Help:    "Time that the agent took for calls of the CNI plugin, by verb.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}, []string{"verb"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe counts one call; verb is one of the specification's or "other".
func (m *Metrics) observe(verb, result string, took time.Duration) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(verb, result).Inc()
	m.seconds.WithLabelValues(verb).Observe(took.Seconds())
}
