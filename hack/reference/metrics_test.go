// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// families are metrics as promlint takes them.
func families(metrics []metric) (out []*dto.MetricFamily) {
	for _, m := range metrics {
		one := &dto.Metric{}
		for _, label := range m.labels {
			one.Label = append(one.Label, &dto.LabelPair{Name: &label})
		}
		out = append(out, &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: &m.kind, Metric: []*dto.Metric{one}})
	}
	return out
}

// TestMetricsAreConventional: names, units, types and help texts are as
// Prometheus wants them.
func TestMetricsAreConventional(t *testing.T) {
	controller, agent, err := ours()
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(controller, agent)
	if len(all) < 15 {
		t.Fatalf("there are only %d metrics", len(all))
	}
	problems, err := promlint.NewWithMetricFamilies(families(all)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	names := map[string]bool{}
	for _, m := range all {
		if m.kind == dto.MetricType_UNTYPED || names[m.name] {
			t.Errorf("%s: %s, twice: %t", m.name, m.kind, names[m.name])
		}
		names[m.name] = true
	}
	bad := []metric{{name: "selvage_things", help: "Things.", kind: dto.MetricType_COUNTER}}
	if problems, err := promlint.NewWithMetricFamilies(families(bad)).Lint(); err != nil || len(problems) == 0 {
		t.Errorf("a counter without _total is no problem: %v", err)
	}
}
