// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"maps"
	"slices"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// Diagnosis is what doctor says, of the cluster and of nodes.
type Diagnosis struct {
	// OK: nothing that was looked at is an error.
	OK      bool               `json:"ok"`
	Reports []diagnosis.Report `json:"reports"`
	// Unreached are nodes that could not be looked at, and why.
	Unreached map[string]string `json:"unreached,omitempty"`
}

// Errors and Warnings count the findings.
func (d *Diagnosis) Errors() int { return d.count(diagnosis.Error) }

// Warnings counts the findings that are no errors.
func (d *Diagnosis) Warnings() int { return d.count(diagnosis.Warning) }

func (d *Diagnosis) count(s diagnosis.Severity) (n int) {
	for _, r := range d.Reports {
		for _, f := range r.Findings {
			if f.Severity == s {
				n++
			}
		}
	}
	return n
}

// Diagnosis shows reports: a line a check, what was found below it, and what
// to do. What is well is left out unless wide.
func (p *Page) Diagnosis(d Diagnosis, wide bool) error {
	for _, r := range d.Reports {
		if err := p.report(r, wide); err != nil {
			return err
		}
	}
	for _, node := range slices.Sorted(maps.Keys(d.Unreached)) {
		if err := p.Line(Bad, "node/%s could not be looked at: %s", node, d.Unreached[node]); err != nil {
			return err
		}
	}
	style := Good
	if d.Warnings() > 0 {
		style = Warn
	}
	if !d.OK {
		style = Bad
	}
	return p.Line(style, "%s, %s", plural(d.Errors(), "error"), plural(d.Warnings(), "warning"))
}

func (p *Page) report(r diagnosis.Report, wide bool) error {
	if err := p.Line(Strong, "%s", r.Subject); err != nil {
		return err
	}
	well := 0
	for _, result := range r.Results {
		if result.Verdict == diagnosis.OK && !wide {
			well++
			continue
		}
		if err := p.result(result, r.Findings); err != nil {
			return err
		}
	}
	if well == 0 {
		return nil
	}
	return p.Line(Good, "  %s ok", plural(well, "check"))
}

var verdicts = map[diagnosis.Verdict]Cell{
	diagnosis.OK: {"ok", Good}, diagnosis.Found: {"found", Bad}, diagnosis.NotChecked: {"not checked", Warn},
}

func (p *Page) result(result diagnosis.Result, findings []diagnosis.Finding) error {
	verdict := verdicts[result.Verdict]
	text := fmt.Sprintf("  %-15s %s", result.Check, verdict.Text)
	if result.Verdict != diagnosis.Found {
		text += ": " + result.Looked
	}
	if err := p.Line(verdict.Style, "%s", text); err != nil {
		return err
	}
	for _, f := range grouped(findings, result.Check) {
		style := Warn
		if f.Severity == diagnosis.Error {
			style = Bad
		}
		if err := p.Line(style, "    %s: %s: %s", f.Severity, f.Object, f.Message); err != nil {
			return err
		}
		if err := p.Line(Plain, "      do: %s", f.Remedy); err != nil {
			return err
		}
	}
	return nil
}

// grouped are the findings of a check; those that say the same of several
// objects are one, with the first one's remedy.
func grouped(findings []diagnosis.Finding, check string) []diagnosis.Finding {
	type said struct {
		severity diagnosis.Severity
		message  string
	}
	var all []diagnosis.Finding
	objects, at := map[said][]string{}, map[said]int{}
	for _, f := range findings {
		if f.Check != check {
			continue
		}
		key := said{f.Severity, f.Message}
		if len(objects[key]) == 0 {
			at[key], all = len(all), append(all, f)
		}
		objects[key] = append(objects[key], f.Object)
		all[at[key]].Object = Names(objects[key])
	}
	return all
}
