// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
)

// recording is what a real controller and three real agents served at some
// moments: test/e2e/agent, with -record, writes it anew.
const recording = "testdata/recording"

// series are a recording's, by name and labels: a value for each moment, or ""
// where it was not served.
func series(t *testing.T) (map[string][]string, int) {
	t.Helper()
	moments, err := filepath.Glob(recording + "/*")
	if err != nil || len(moments) < 3 {
		t.Fatalf("%d moments were recorded: %v", len(moments), err)
	}
	out := map[string][]string{}
	for i, moment := range moments {
		files, err := filepath.Glob(moment + "/*.prom")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", moment, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				at := strings.LastIndexByte(line, ' ')
				if strings.HasPrefix(line, "#") || at < 0 {
					continue
				}
				name := scraped(line[:at], strings.TrimSuffix(filepath.Base(file), ".prom"))
				if out[name] == nil {
					out[name] = make([]string, len(moments))
				}
				out[name][i] = line[at+1:]
			}
		}
	}
	return out, len(moments)
}

// scraped is a series with the labels that scraping it adds: config/monitoring
// has an agent's node among them.
func scraped(name, program string) string {
	target := fmt.Sprintf("instance=%q", program)
	if number, isAgent := strings.CutPrefix(program, "agent"); isAgent {
		target += fmt.Sprintf(",node=%q", "host"+number)
	}
	if bare, ok := strings.CutSuffix(name, "}"); ok {
		return bare + "," + target + "}"
	}
	return name + "{" + target + "}"
}

// played is a recording as a Prometheus has it that scraped once a minute.
func played(t *testing.T) (storage.Queryable, int) {
	t.Helper()
	all, moments := series(t)
	var load strings.Builder
	load.WriteString("load 1m\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		load.WriteString("  " + name)
		there := false
		for _, value := range all[name] {
			switch {
			case value != "":
				load.WriteString(" " + value)
			case there:
				load.WriteString(" stale")
			default:
				load.WriteString(" _")
			}
			there = value != ""
		}
		load.WriteString("\n")
	}
	return promqltest.LoadedStorage(t, load.String()), moments
}

// TestRecording: what was recorded is what there is now.
func TestRecording(t *testing.T) {
	known, all := reference(t), map[string]bool{}
	recorded, _ := series(t)
	for name := range recorded {
		metric, _, _ := strings.Cut(name, "{")
		all[metric] = true
		if _, there := known[metric]; !there && !strings.HasPrefix(metric, "process_") {
			t.Errorf("%s was recorded, and there is none: go test ./test/e2e/agent -run '^TestWithController$' -record", metric)
		}
	}
	for metric := range known {
		if !all[metric] {
			t.Logf("%s was not served in the recording", metric)
		}
	}
}

// TestAlerts_Recorded: over what real programs served an alert's condition
// holds exactly where the story calls for it. (It says nothing of rates: it is
// over within minutes.)
func TestAlerts_Recorded(t *testing.T) {
	all, e := alerts(t), engine(t)
	q, moments := played(t)
	holds := map[string][]string{}
	for name, r := range all {
		for at := range moments {
			data, err := evaluated(e, q, at, r.Expr)
			if err != nil {
				t.Fatal(err)
			}
			for _, sample := range data {
				holds[fmt.Sprint(at+1)] = append(holds[fmt.Sprint(at+1)], name+" "+sample.Metric.Get("peer")+sample.Metric.Get("node"))
			}
		}
	}
	for at := range holds {
		slices.Sort(holds[at])
	}
	want := map[string][]string{
		"2": {"SelvagePeerWithoutLease host3"},
		// It is back, and no container runtime is there to stop its stale pod;
		// then it is let in, and has refused the pod of before.
		"3": {"SelvagePodsCutOff host3"},
		"4": {"SelvageAllocationsFailing host3", "SelvagePodsCutOff host3"},
		// Another has left, by cutting its pod off.
		"5": {"SelvageAllocationsFailing host3", "SelvagePodsCutOff host2", "SelvagePodsCutOff host3"},
	}
	if !maps.EqualFunc(holds, want, slices.Equal) {
		t.Errorf("%v, want %v", holds, want)
	}
}
