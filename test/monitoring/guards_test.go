// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// damages are versions of an alert that are wrong: it never fires, fires
// always, at once, or much too late, and for each metric that it asks for, one
// in which that metric has another name, and for each label that it asks for,
// one in which it does not.
func damages(t *testing.T, r rulefmt.Rule) map[string]rulefmt.Rule {
	t.Helper()
	out := map[string]rulefmt.Rule{}
	changed := func(what string, change func(*rulefmt.Rule)) {
		next := r
		change(&next)
		out[what] = next
	}
	changed("it never fires", func(r *rulefmt.Rule) { r.Expr = "vector(1) > 2" })
	changed("it always fires", func(r *rulefmt.Rule) { r.Expr = "vector(1)" })
	changed("it fires at once", func(r *rulefmt.Rule) { r.For = 0 })
	if r.KeepFiringFor > 0 {
		changed("it is over at the first gap", func(r *rulefmt.Rule) { r.KeepFiringFor = 0 })
	}
	changed("it fires too late", func(r *rulefmt.Rule) { r.For += model.Duration(1e9 * 3600) })
	for i, s := range selectors(t, r.Expr) {
		changed(fmt.Sprintf("metric %d, %s, is another", i, s.Name), func(r *rulefmt.Rule) {
			r.Expr = altered(t, r.Expr, i, func(s *parser.VectorSelector) {
				s.Name += "_renamed"
				for j, m := range s.LabelMatchers {
					if m.Name == model.MetricNameLabel {
						s.LabelMatchers[j] = labels.MustNewMatcher(labels.MatchEqual, m.Name, s.Name)
					}
				}
			})
		})
		for j, m := range s.LabelMatchers {
			if m.Name == model.MetricNameLabel || s.Name == "selvage_addresses" && m.Value == "total" {
				continue // of the states total is the largest, which is asked for
			}
			changed(fmt.Sprintf("metric %d is asked for without %s", i, m), func(r *rulefmt.Rule) {
				r.Expr = altered(t, r.Expr, i, func(s *parser.VectorSelector) {
					s.LabelMatchers = append(append([]*labels.Matcher{}, s.LabelMatchers[:j]...), s.LabelMatchers[j+1:]...)
				})
			})
		}
	}
	return out
}

// selectors are all that an expression asks for.
func selectors(t *testing.T, text string) (out []*parser.VectorSelector) {
	t.Helper()
	expr, err := language.ParseExpr(text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			out = append(out, s)
		}
		return nil
	})
	return out
}

// altered is an expression with one selector changed.
func altered(t *testing.T, text string, which int, change func(*parser.VectorSelector)) string {
	t.Helper()
	expr, err := language.ParseExpr(text)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			if i == which {
				change(s)
			}
			i++
		}
		return nil
	})
	return expr.String()
}

// TestAlerts_Guards: of each alert every part is needed: with any of it changed
// the scenes are no longer as expected.
func TestAlerts_Guards(t *testing.T) {
	e := engine(t)
	tried := 0
	for name, r := range alerts(t) {
		all := scenes(t, name)
		missed := damages(t, r)
		for _, s := range all {
			q := s.load(t)
			for what, damaged := range missed {
				tried++
				if len(s.play(t, e, q, damaged)) > 0 {
					delete(missed, what)
				}
			}
		}
		for what, damaged := range missed {
			t.Errorf("%s is as expected although %s: %s", name, what, damaged.Expr)
		}
	}
	t.Logf("%d times a damaged alert was played", tried)
}
