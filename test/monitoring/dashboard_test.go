// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// dashboard is what of a Grafana dashboard is looked at.
type dashboard struct {
	UID        string
	Templating struct {
		List []struct {
			Name, Type string
			Definition string
		}
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ UID string }
	Targets                  []target
}

type target struct {
	Expr, LegendFormat string
	Datasource         struct{ UID string }
}

func readDashboard(t *testing.T) *dashboard {
	t.Helper()
	text, err := os.ReadFile(manifests + "dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	d := &dashboard{}
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 10 {
		t.Fatalf("only %d panels", len(d.Panels))
	}
	return d
}

// filledIn is an expression as Grafana sends it, with all chosen and the last
// quarter of an hour looked at.
func filledIn(expr string) string {
	return strings.NewReplacer("$__rate_interval", "4m", "$__range", "15m", "$pool", ".*", "$node", ".*").Replace(expr)
}

// evaluated is an expression's value at a minute, without what is no number.
func evaluated(e *promql.Engine, q storage.Queryable, minute int, expr string) (out promql.Vector, err error) {
	query, err := e.NewInstantQuery(context.Background(), q, nil, expr, time.Unix(0, 0).Add(time.Duration(minute)*time.Minute))
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(context.Background())
	if result.Err != nil {
		return nil, result.Err
	}
	vector, err := result.Vector()
	for _, sample := range vector {
		if !math.IsNaN(sample.F) {
			out = append(out, sample)
		}
	}
	return out, err
}

// shown evaluates an expression at every minute of the recording.
func shown(t *testing.T, e *promql.Engine, q storage.Queryable, moments int, expr string) (out promql.Vector, err error) {
	t.Helper()
	for at := range moments {
		data, err := evaluated(e, q, at, expr)
		if err != nil {
			return nil, err
		}
		out = append(out, data...)
	}
	return out, nil
}

// askedFor is an expression without "or vector(0)", which is data always.
func askedFor(t *testing.T, text string) string {
	t.Helper()
	expr, err := language.ParseExpr(text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if b, ok := expr.(*parser.BinaryExpr); ok && b.Op == parser.LOR && b.RHS.String() == "vector(0)" {
		return b.LHS.String()
	}
	return expr.String()
}

var mentioned = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// TestDashboard: each query asks for what there is, and returns data over what
// real programs have served, with the labels that its legend speaks of.
func TestDashboard(t *testing.T) {
	known, sources := reference(t), code(t)
	e := engine(t)
	q, moments := played(t)
	for _, p := range readDashboard(t).Panels {
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			expr := askedFor(t, filledIn(target.Expr))
			for _, s := range strange(t, expr, known, sources) {
				t.Errorf("%s: there is no %s", p.Title, s)
			}
			data, err := shown(t, e, q, moments, expr)
			if err != nil || len(data) == 0 {
				t.Errorf("%s: %s: %d samples, %v", p.Title, expr, len(data), err)
			}
			for _, label := range mentioned.FindAllStringSubmatch(target.LegendFormat, -1) {
				for _, sample := range data {
					if sample.Metric.Get(label[1]) == "" {
						t.Errorf("%s: %s has no label %s", p.Title, sample.Metric, label[1])
					}
				}
			}
		}
	}
	for _, wrong := range []string{"selvage_nothing", `selvage_peers{phase="Gone"}`, "vector(1) > 2"} {
		if data, err := shown(t, e, q, moments, wrong); err != nil || len(data) > 0 {
			t.Errorf("%s shows %v, %v", wrong, data, err)
		}
	}
}

// TestDashboard_Form: it can be imported as it is, and read.
func TestDashboard_Form(t *testing.T) {
	d := readDashboard(t)
	known := reference(t)
	if d.UID == "" {
		t.Error("it has no uid: each import would be another")
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		parts := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if parts == nil || known[parts[1]] == nil || !slices.Contains(append(known[parts[1]], targetLabels...), parts[2]) {
			t.Errorf("the variable %s asks for %q", v.Name, v.Definition)
		}
	}
	ids, titles, covered := map[int]bool{}, map[string]bool{}, map[string]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] {
			t.Errorf("panel %d, %s, comes twice", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				place := fmt.Sprint(x, ",", y)
				if covered[place] != "" || x >= 24 {
					t.Errorf("%s lies over %s at %s", p.Title, covered[place], place)
				}
				covered[place] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s: description %q, data source %q", p.Title, p.Description, p.Datasource.UID)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s asks %q", p.Title, target.Datasource.UID)
			}
		}
	}
}
