// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

func all(string) bool { return true }

func spec(name string, state types.SpecState) Spec {
	return Spec{Name: Subject + " " + name, State: state}
}

func TestJudge(t *testing.T) {
	list := LeftOut{{Why: "no cloud", Specs: []string{"LoadBalancers"}}}
	good := []Spec{spec("Services work", types.SpecStatePassed), spec("LoadBalancers work", types.SpecStateSkipped)}
	for name, c := range map[string]struct {
		specs []Spec
		says  string
	}{
		"all is well":                  {good, ""},
		"one failed":                   {append(good, spec("DNS", types.SpecStateFailed)), "failed: [sig-network] DNS"},
		"one ran out of time":          {append(good, spec("DNS", types.SpecStateTimedout)), "failed: [sig-network] DNS"},
		"one left out runs, and fails": {append(good, spec("LoadBalancers fail", types.SpecStateFailed)), "failed:"},
		"one skipped itself":           {append(good, spec("DNS", types.SpecStateSkipped)), "neither ran nor is on the list: [sig-network] DNS"},
		"one never began":              {append(good, spec("DNS", types.SpecStateInvalid)), "neither ran nor is on the list"},
		"one is pending":               {append(good, spec("DNS", types.SpecStatePending)), "neither ran nor is on the list"},
		"nothing ran":                  {good[1:], "nothing has passed"},
		"the list is out of date":      {good[:1], "no spec that it leaves out is named so"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Judge(c.specs, list, all).Err()
			if c.says == "" {
				if err != nil {
					t.Errorf("error %v", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestJudgeLooksAtWhatWasChosen(t *testing.T) {
	specs := []Spec{spec("Services", types.SpecStatePassed), spec("DNS", types.SpecStateSkipped)}
	if err := Judge(specs, nil, func(name string) bool { return strings.Contains(name, "Services") }).Err(); err != nil {
		t.Error(err)
	}
}

func TestReadTakesTheNetworksSpecs(t *testing.T) {
	suites := []types.Report{{SpecReports: types.SpecReports{
		{LeafNodeType: types.NodeTypeIt, ContainerHierarchyTexts: []string{Subject, "Services"}, LeafNodeText: "work", State: types.SpecStatePassed},
		{LeafNodeType: types.NodeTypeIt, ContainerHierarchyTexts: []string{"[sig-storage]"}, LeafNodeText: "works", State: types.SpecStateSkipped},
		{LeafNodeType: types.NodeTypeSynchronizedBeforeSuite, State: types.SpecStatePassed},
	}}}
	report, err := json.Marshal(suites)
	if err != nil {
		t.Fatal(err)
	}
	specs, err := Read(report)
	if err != nil || len(specs) != 1 || specs[0].Name != "[sig-network] Services work" {
		t.Errorf("%+v, error %v", specs, err)
	}
	suites[0].SpecReports[2].State = types.SpecStateFailed
	if report, err = json.Marshal(suites); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(report); err == nil {
		t.Error("a suite that could not begin was believed")
	}
	if _, err := Read([]byte("[]")); err == nil {
		t.Error("a report without specs was believed")
	}
}

func TestParseLeftOut(t *testing.T) {
	for name, c := range map[string]struct{ list, says string }{
		"good":            {"[{why: because, specs: [a]}]", ""},
		"no reason":       {"[{specs: [a]}]", "says no reason"},
		"no specs":        {"[{why: because}]", "nothing is left out"},
		"all specs":       {"[{why: because, specs: [\" \"]}]", "every spec"},
		"a misspelt key":  {"[{why: because, spec: [a]}]", "unknown field"},
		"a misspelt kind": {"[{why: because, with: vxln, specs: [a]}]", "say one of vxlan, direct"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseLeftOut([]byte(c.list), []string{"vxlan"}, []string{"vxlan", "direct"})
			if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

// What is left out on one kind of cluster runs on the other.
func TestLeftOutOnOneKind(t *testing.T) {
	const list = "[{why: because, with: vxlan, specs: [a]}, {why: because, specs: [b]}]"
	for cluster, want := range map[string]string{"vxlan": "a|b", "direct": "b"} {
		got, err := ParseLeftOut([]byte(list), []string{cluster}, []string{"vxlan", "direct"})
		if err != nil || got.Pattern() != want {
			t.Errorf("%s: %q, error %v, want %q", cluster, got.Pattern(), err, want)
		}
	}
}

// Names are taken as they are written.
func TestPatternQuotes(t *testing.T) {
	list := LeftOut{{Why: "because", Specs: []string{"[Slow]", "a.b"}}, {Why: "and", Specs: []string{"c"}}}
	if got, want := list.Pattern(), `\[Slow\]|a\.b|c`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
