// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

const (
	source    = "../../"
	manifests = source + "config/monitoring/"
)

// language is PromQL as a Prometheus takes it that was told nothing.
var language = parser.NewParser(parser.Options{})

// alerts are those of the PrometheusRule, by name, as Prometheus reads them.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile(manifests + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Kind string `json:"kind"`
		Spec any    `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &object); err != nil || object.Kind != "PrometheusRule" {
		t.Fatalf("a %s: %v", object.Kind, err)
	}
	spec, err := yaml.Marshal(object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	// Parse checks names, expressions, durations and templates.
	groups, errs := rulefmt.Parse(spec, false, model.UTF8Validation, language, promslog.NewNopLogger())
	for _, err := range errs {
		t.Error(err)
	}
	out := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || out[r.Alert].Alert != "" {
				t.Errorf("a rule that is no alert, or there already: %q", r.Alert)
			}
			out[r.Alert] = r
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %d alerts", len(out))
	}
	return out
}

// alerting is a rule that has not been evaluated yet.
func alerting(t *testing.T, r rulefmt.Rule) *rules.AlertingRule {
	t.Helper()
	expr, err := language.ParseExpr(r.Expr)
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	return rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor), labels.FromMap(r.Labels),
		labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, promslog.NewNopLogger())
}

// TestAlerts_Form: an alert says how bad it is, what is wrong, what to do, and
// where more is written.
func TestAlerts_Form(t *testing.T) {
	for name, r := range alerts(t) {
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: its severity is %q", name, s)
		}
		for _, annotation := range []string{"summary", "description", "runbook_url"} {
			if r.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", name, annotation)
			}
		}
		if r.For == 0 {
			t.Errorf("%s fires at the first glance: it has no for", name)
		}
	}
}
