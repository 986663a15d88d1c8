// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"embed"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed promela/*.pml
var promela embed.FS

var full = flag.Bool("full", false, "explore the models to their wider bounds, and print the shortest counterexamples")

// search is what pan, the verifier that Spin generates, has found.
type search struct {
	errors, states, depth int
	// complete: every state was looked at, each as itself (no bitstate, no
	// hash for a state), and no path was cut short.
	complete bool
	// unreached are the model's own lines that no state ever came to.
	unreached []string
	broken    string
	// story is what the parties did, up to the error.
	story []string
	took  time.Duration
}

var (
	errorsLine    = regexp.MustCompile(`depth reached (\d+), errors: (\d+)`)
	statesLine    = regexp.MustCompile(`(?m)^\s*([\d.e+]+) states, stored`)
	brokenLine    = regexp.MustCompile(`(?m)^pan:\d+: (.*) \(at depth \d+\)`)
	unreachedLine = regexp.MustCompile(`(?m)^\t(\S+\.pml:\d+), state \d+, "(.*)"`)
	cutShort      = regexp.MustCompile(`max search depth too small|Search not completed|out of memory|memory bound|Bit statespace|truncated`)
)

// verify has Spin generate a verifier, compiles and runs it. Breadth first its
// counterexample is the shortest there is, and is told.
func verify(t *testing.T, model string, defines []string, breadth bool) search {
	t.Helper()
	dir := t.TempDir()
	text, err := promela.ReadFile("promela/" + model + ".pml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, model+".pml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	var flags []string
	for _, d := range defines {
		flags = append(flags, "-D"+d)
	}
	tool(t, dir, "spin", append(flags, "-a", model+".pml")...)
	options := []string{"-O2", "-DSAFETY", "-DMEMLIM=12000", "-o", "pan", "pan.c"}
	switch {
	case breadth:
		options = append(options, "-DBFS")
	case len(defines) > 0:
		options[0] = "-O1" // what is soon found is compiled sooner
	}
	tool(t, dir, "gcc", options...)
	began := time.Now()
	out := tool(t, dir, "./pan", "-m4000000", "-w22", "-c1")
	found := parse(t, out)
	found.took = time.Since(began)
	if found.errors > 0 && breadth {
		found.story = tell(tool(t, dir, "spin", append(flags, "-t", model+".pml")...))
	}
	return found
}

// tool runs a program, which must be there and succeed.
func tool(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil && !strings.HasPrefix(name, "./") {
		t.Fatalf("%v\nthe models are verified with Spin, and compiled: apt-get install spin gcc libc6-dev (or hack/setup.sh)", err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func parse(t *testing.T, out string) search {
	t.Helper()
	errors, states := errorsLine.FindStringSubmatch(out), statesLine.FindStringSubmatch(out)
	if errors == nil || states == nil {
		t.Fatalf("the verifier says neither errors nor states:\n%s", out)
	}
	var found search
	found.depth, _ = strconv.Atoi(errors[1])
	found.errors, _ = strconv.Atoi(errors[2])
	n, err := strconv.ParseFloat(states[1], 64)
	if err != nil {
		t.Fatalf("states: %v\n%s", err, out)
	}
	found.states = int(n)
	found.complete = found.errors == 0 && !cutShort.MatchString(out)
	if b := brokenLine.FindStringSubmatch(out); b != nil {
		found.broken = b[1]
	}
	for _, u := range unreachedLine.FindAllStringSubmatch(out, -1) {
		if u[2] != "-end-" && u[2] != "(0)" {
			found.unreached = append(found.unreached, u[1]+" "+u[2])
		}
	}
	return found
}

// tell keeps what the parties say, and drops what Spin says about itself.
func tell(out string) (story []string) {
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, "spin:") {
			break
		}
		if line = strings.TrimSpace(line); line != "" {
			story = append(story, line)
		}
	}
	return story
}

// TestPromela verifies every model, and then each without one rule at a time:
// then there must be a counterexample, or, where a rule was found to be
// superfluous, still none.
func TestPromela(t *testing.T) {
	var table []string
	for _, m := range promelaModels {
		t.Run(m.name, func(t *testing.T) {
			var wider []string
			if *full {
				wider = m.wider
			}
			found := verify(t, m.name, wider, false)
			if found.errors > 0 || !found.complete {
				t.Fatalf("%d errors (%s), complete: %t, after %d states", found.errors, found.broken, found.complete, found.states)
			}
			if len(found.unreached) > 0 {
				t.Errorf("nothing ever comes to %q: the model does not do what it says", found.unreached)
			}
			table = append(table, fmt.Sprintf("%-10s %10d states, depth %8d, complete, %5.1f s", m.name, found.states, found.depth, found.took.Seconds()))
			for _, mutation := range m.mutations {
				t.Run(mutation.flag, func(t *testing.T) {
					table = append(table, mutation.verify(t, m.name))
				})
			}
		})
	}
	t.Logf("models, and what is without a rule:\n%s", strings.Join(table, "\n"))
}

func (m mutation) verify(t *testing.T, model string) string {
	t.Helper()
	found := verify(t, model, []string{m.flag}, *full)
	if m.superfluous {
		if found.errors > 0 || !found.complete {
			t.Errorf("it was thought that nothing breaks without %s: %s", m.rule, found.broken)
		}
		return fmt.Sprintf("  %-24s %10d states, nothing breaks: %s", m.flag, found.states, m.rule)
	}
	if found.errors == 0 {
		t.Errorf("nothing breaks without %s, in %d states (complete: %t)", m.rule, found.states, found.complete)
	}
	if len(found.story) > 0 {
		t.Logf("%s; without %s:\n%s\n%s", m.breaks, m.rule, strings.Join(found.story, "\n"), found.broken)
	}
	return fmt.Sprintf("  %-24s %10d states to break %s, in %d steps", m.flag, found.states, m.breaks, found.depth)
}

// TestPromelaFlags: whatever a model can leave out is left out by a mutation.
func TestPromelaFlags(t *testing.T) {
	condition := regexp.MustCompile(`(?m)^#\s*(?:if|ifdef|ifndef|elif)\b(.*)$`)
	word := regexp.MustCompile(`\b[A-Z][A-Z_]+\b`)
	for _, m := range promelaModels {
		text, err := promela.ReadFile("promela/" + m.name + ".pml")
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, line := range condition.FindAllStringSubmatch(string(text), -1) {
			line, _, _ := strings.Cut(line[1], "/*")
			for _, flag := range word.FindAllString(line, -1) {
				has[flag] = true
			}
		}
		for _, bound := range m.wider {
			name, _, _ := strings.Cut(bound, "=")
			delete(has, name)
		}
		var listed []string
		for _, mutation := range m.mutations {
			listed = append(listed, mutation.flag)
		}
		slices.Sort(listed)
		if got := slices.Sorted(maps.Keys(has)); !slices.Equal(got, listed) {
			t.Errorf("%s.pml can leave out %q, and %q are left out in tests", m.name, got, listed)
		}
	}
	files, err := promela.ReadDir("promela")
	if err != nil || len(files) != len(promelaModels) {
		t.Errorf("%d models, %d verified; %v", len(files), len(promelaModels), err)
	}
}
