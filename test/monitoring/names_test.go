// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// targetLabels are those that scraping adds: config/monitoring/monitors.yaml
// sees to node.
var targetLabels = []string{"node", "instance", "pod", "namespace", "job"}

// reference is what metrics there are, with their labels: the page that is
// generated from the registries.
func reference(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(source + "docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		var names []string
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[3], -1) {
			names = append(names, name[1])
		}
		if row[2] == "histogram" {
			out[row[1]+"_sum"], out[row[1]+"_count"] = names, names
			out[row[1]+"_bucket"] = append(slices.Clone(names), "le")
			continue
		}
		out[row[1]] = names
	}
	// Of controller-runtime and of the process, as the recording shows them.
	out["controller_runtime_reconcile_total"] = []string{"controller", "result"}
	out["process_resident_memory_bytes"] = nil
	if len(out) < 20 {
		t.Fatalf("only %d metrics", len(out))
	}
	return out
}

// strange is what an expression asks for that there is not.
func strange(t *testing.T, expr string, known map[string][]string, sources string) (out []string) {
	t.Helper()
	for _, s := range selectors(t, expr) {
		own, there := known[s.Name]
		if !there {
			out = append(out, s.Name)
			continue
		}
		for _, m := range s.LabelMatchers {
			if m.Name == model.MetricNameLabel || slices.Contains(targetLabels, m.Name) {
				continue
			}
			if !slices.Contains(own, m.Name) {
				out = append(out, fmt.Sprintf("%s{%s}", s.Name, m.Name))
			}
			for _, value := range values(m) {
				if !strings.Contains(sources, `"`+value+`"`) {
					out = append(out, fmt.Sprintf("%s{%s}", s.Name, m))
				}
			}
		}
	}
	return append(out, grouped(t, expr, known)...)
}

// grouped is by which labels an expression groups, or matches, that none of its
// metrics has.
func grouped(t *testing.T, text string, known map[string][]string) (out []string) {
	t.Helper()
	expr, err := language.ParseExpr(text)
	if err != nil {
		t.Fatal(err)
	}
	has := slices.Clone(targetLabels)
	for _, s := range selectors(t, text) {
		has = append(has, known[s.Name]...)
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		var by []string
		switch n := node.(type) {
		case *parser.AggregateExpr:
			by = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				by = n.VectorMatching.MatchingLabels
			}
		}
		for _, name := range by {
			if !slices.Contains(has, name) && !strings.Contains(text, `"`+name+`"`) {
				out = append(out, "by "+name)
			}
		}
		return nil
	})
	return out
}

// values are the words that a matcher compares with.
func values(m *labels.Matcher) (out []string) {
	if m.Type == labels.MatchEqual || m.Type == labels.MatchNotEqual {
		return []string{m.Value}
	}
	for _, value := range strings.Split(m.Value, "|") {
		if regexp.MustCompile(`^\w+$`).MatchString(value) {
			out = append(out, value)
		}
	}
	return out
}

// code is what says the words that become labels' values.
func code(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"api/v1alpha1", "controllers", "controllers/ownership", "node-agent/membership", "node-agent/cniserver"} {
		files, err := filepath.Glob(source + pattern + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	// controller-runtime's, and the API server's own.
	all.WriteString(`"error" "Forbidden" "Unauthorized" "Invalid" "BadRequest" "TooManyRequests"`)
	return all.String()
}

// TestAlerts_Names: alerts ask for metrics, labels and values that there are.
func TestAlerts_Names(t *testing.T) {
	known, sources := reference(t), code(t)
	for name, r := range alerts(t) {
		for _, s := range strange(t, r.Expr, known, sources) {
			t.Errorf("%s: there is no %s", name, s)
		}
		for _, text := range r.Annotations {
			for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				if !strings.Contains(r.Expr, label[1]) {
					t.Errorf("%s speaks of a label %s, which its expression does not keep", name, label[1])
				}
			}
		}
	}
	for _, wrong := range []string{
		"selvage_peer", `selvage_peers{peer="a"}`, `selvage_peers{phase="Activ"}`, "max by (pool) (selvage_peers)",
		`selvage_agent_row{row=~"Fenced|Fence"}`, "selvage_peers / on (pool) selvage_peers",
	} {
		if len(strange(t, wrong, known, sources)) == 0 {
			t.Errorf("%s is taken for right", wrong)
		}
	}
}
