// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// metric is one metric as its code describes it.
type metric struct {
	name, help string
	kind       dto.MetricType
	labels     []string
}

// shelf keeps the metrics that are registered with it.
type shelf struct {
	metrics []metric
	err     error
}

func (s *shelf) Register(c prometheus.Collector) error {
	kind := kindOf(c)
	found := make(chan *prometheus.Desc)
	go func() {
		c.Describe(found)
		close(found)
	}()
	for d := range found {
		m, err := parse(d.String())
		if err != nil {
			s.err = err
		}
		m.kind = kind
		s.metrics = append(s.metrics, m)
	}
	return s.err
}

func (s *shelf) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = s.Register(c)
	}
}

func (s *shelf) Unregister(prometheus.Collector) bool { return false }

func kindOf(c prometheus.Collector) dto.MetricType {
	switch c.(type) {
	case *prometheus.CounterVec:
		return dto.MetricType_COUNTER
	case *prometheus.GaugeVec, prometheus.Gauge: // a Gauge is a Counter, too
		return dto.MetricType_GAUGE
	case *prometheus.HistogramVec, prometheus.Histogram:
		return dto.MetricType_HISTOGRAM
	case prometheus.Counter:
		return dto.MetricType_COUNTER
	}
	return dto.MetricType_UNTYPED
}

// described is how a Desc prints itself.
var described = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), (?:unit: "[^"]*", )?constLabels: \{\}, variableLabels: \{(.*)\}\}$`)

func parse(desc string) (m metric, err error) {
	parts := described.FindStringSubmatch(desc)
	if parts == nil {
		return m, fmt.Errorf("cannot read %s", desc)
	}
	if m.name, err = strconv.Unquote(parts[1]); err != nil {
		return m, err
	}
	if m.help, err = strconv.Unquote(parts[2]); err != nil {
		return m, err
	}
	if parts[3] != "" {
		m.labels = strings.Split(parts[3], ",")
	}
	return m, nil
}

// ours are all metrics that are Selvage's own, by program.
func ours() (controller, agent []metric, err error) {
	var c, a shelf
	controllers.NewMetrics(&c)
	if _, err := membership.NewMetrics(&a); err != nil {
		return nil, nil, err
	}
	if _, err := membership.CountRequests(&a); err != nil {
		return nil, nil, err
	}
	if _, err := cniserver.NewMetrics(&a); err != nil {
		return nil, nil, err
	}
	for _, s := range []*shelf{&c, &a} {
		if s.err != nil {
			return nil, nil, s.err
		}
		slices.SortFunc(s.metrics, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	}
	return c.metrics, a.metrics, nil
}

func metricsPage() (string, error) {
	controller, agent, err := ours()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Metrics\n\nBeside these each program has those of the Go runtime and of its process, and the controller those of\ncontroller-runtime.\n")
	for _, program := range []struct {
		title   string
		metrics []metric
	}{{"selvage-controller", controller}, {"selvage-agent", agent}} {
		fmt.Fprintf(&b, "\n## %s\n| metric | type | labels | |\n| --- | --- | --- | --- |\n", program.title)
		for _, m := range program.metrics {
			labels := ""
			if len(m.labels) > 0 {
				labels = "`" + strings.Join(m.labels, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, strings.ToLower(m.kind.String()), labels, cell(m.help))
		}
	}
	return b.String(), nil
}

// cell is a text as a cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
