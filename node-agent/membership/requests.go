// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/transport"
)

// CountRequests returns what counts the requests that a client sends to the API
// server, so that it can be seen that an allocation sends none.
func CountRequests(registry prometheus.Registerer) (transport.WrapperFunc, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "selvage", Subsystem: "agent", Name: "api_requests_total", Help: "Requests sent to the API server, by method.",
	}, []string{"method"})
	if err := registry.Register(requests); err != nil {
		return nil, fmt.Errorf("registering the agent's metrics: %w", err)
	}
	return func(next http.RoundTripper) http.RoundTripper { return counted{next: next, requests: requests} }, nil
}

type counted struct {
	next     http.RoundTripper
	requests *prometheus.CounterVec
}

// RoundTrip is http.RoundTripper.RoundTrip.
func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.WithLabelValues(r.Method).Inc()
	return c.next.RoundTrip(r)
}
