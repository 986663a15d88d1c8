// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"sigs.k8s.io/yaml"
)

// scene is some series, in the notation of promtool's tests, one sample every
// Interval, and which alerts they are to give at which times.
type scene struct {
	Name     string
	Interval string
	Series   map[string]string
	// Expect lists, at times since the first sample, the labels of each alert
	// that fires then, and its summary. What is not mentioned is not looked at.
	Expect map[string][]map[string]string
}

func (s *scene) fires() (n int) {
	for _, alerts := range s.Expect {
		n += len(alerts)
	}
	return n
}

// interval is also how often its alert is evaluated.
func (s *scene) interval(t *testing.T) time.Duration {
	t.Helper()
	if s.Interval == "" {
		return time.Minute
	}
	d, err := model.ParseDuration(s.Interval)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(d)
}

// load makes the series.
func (s *scene) load(t *testing.T) storage.Queryable {
	t.Helper()
	var load strings.Builder
	fmt.Fprintf(&load, "load %s\n", model.Duration(s.interval(t)))
	for _, name := range slices.Sorted(maps.Keys(s.Series)) {
		fmt.Fprintf(&load, "  %s %s\n", name, s.Series[name])
	}
	return promqltest.LoadedStorage(t, load.String())
}

// engine evaluates as a Prometheus does that was told nothing.
func engine(t *testing.T) *promql.Engine {
	t.Helper()
	e := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1e6, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
	})
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// play evaluates an alert at each sample, and returns where it is not as
// expected.
func (s *scene) play(t *testing.T, e *promql.Engine, q storage.Queryable, r rulefmt.Rule) (wrong []string) {
	t.Helper()
	type moment struct {
		name string
		at   time.Duration
	}
	var moments []moment
	for name := range s.Expect {
		at, err := model.ParseDuration(name)
		if err != nil {
			t.Fatal(err)
		}
		moments = append(moments, moment{name, time.Duration(at)})
	}
	slices.SortFunc(moments, func(a, b moment) int { return int(a.at - b.at) })
	rule, query := alerting(t, r), rules.EngineQueryFunc(e, q)
	at := time.Duration(0)
	for _, m := range moments {
		for ; at <= m.at; at += s.interval(t) {
			if _, err := rule.Eval(context.Background(), 0, time.Unix(0, 0).Add(at), query, nil, 0); err != nil {
				return append(wrong, err.Error())
			}
		}
		if got, want := firing(rule), told(r, s.Expect[m.name]); !slices.Equal(got, want) {
			wrong = append(wrong, fmt.Sprintf("%s, %s after %s: it fires as\n\t%s\nand is to fire as\n\t%s",
				r.Alert, s.Name, m.name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t")))
		}
	}
	return wrong
}

// firing is what a rule's alerts say, one a line.
func firing(rule *rules.AlertingRule) (out []string) {
	for _, a := range rule.ActiveAlerts() {
		if a.State == rules.StateFiring {
			out = append(out, line(a.Labels.Map(), a.Annotations.Get("summary")))
		}
	}
	slices.Sort(out)
	return out
}

// told is the same of what is expected.
func told(r rulefmt.Rule, want []map[string]string) (out []string) {
	for _, one := range want {
		set := maps.Clone(one)
		delete(set, "summary")
		set[labels.AlertName] = r.Alert
		maps.Copy(set, r.Labels)
		out = append(out, line(set, one["summary"]))
	}
	slices.Sort(out)
	return out
}

func line(set map[string]string, summary string) string {
	return labels.FromMap(set).String() + " " + summary
}

// scenes are those of an alert.
func scenes(t *testing.T, alert string) (out []*scene) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/alerts", alert+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		t.Fatalf("%s: %v", alert, err)
	}
	return out
}

// TestAlerts: each alert fires over the series that call for it, and is silent
// over those that do not.
func TestAlerts(t *testing.T) {
	all, e := alerts(t), engine(t)
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			loud, silent := 0, 0
			for _, s := range scenes(t, name) {
				for _, wrong := range s.play(t, e, s.load(t), r) {
					t.Error(wrong)
				}
				if s.fires() > 0 {
					loud++
				} else {
					silent++
				}
			}
			if loud == 0 || silent == 0 {
				t.Errorf("%d scenes in which it fires, %d in which it does not", loud, silent)
			}
		})
	}
	files, err := filepath.Glob("testdata/alerts/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); all[name].Alert == "" {
			t.Errorf("%s is of no alert", file)
		}
	}
}
