// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/audit"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

// auditParts are read in this order: peers before ranges before pods, since
// what comes later refers to what came before.
var auditParts = []inventory.Part{
	inventory.Pools, inventory.Removals, inventory.Peers, inventory.Ranges, inventory.Leases, inventory.Pods,
}

// secondLook is how long after the first look a finding must still be there.
const secondLook = time.Second

func (s *session) check() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Audit the whole cluster's ownership; exits 3 if an invariant is broken",
		Long: `Audit the whole cluster's ownership, on consistent reads of the API: every invariant that
DESIGN.md names and that can be seen from outside. What is found is looked at a second
time, a moment later, so that a change under way is not taken for damage.

Exits 0 if all holds, 3 if an invariant is broken (naming it), and 1 if a part of ownership
could not be read. Without the right to list pods, what concerns them is not checked, and
that is said.`,
		Example: `  kubectl selvage check
  kubectl selvage check -o json | jq '.invariants[] | select(.verdict == "broken")'`,
		Args:              exactly(0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	out := addOutput(cmd, false, "", "wide")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		drawn, err := out.drawn()
		if err != nil {
			return err
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		st, findings, err := look(cmd.Context(), c, s.namespace())
		if err != nil {
			return err
		}
		report := audit.Compile(st, findings)
		if drawn {
			err = showReport(s.page(out), report, out.wide())
		} else {
			err = out.report(s.Out, "Check", report)
		}
		return verdict(err, st, report)
	}
	return cmd
}

// verdict turns a report into an exit code.
func verdict(err error, st *inventory.State, report audit.Report) error {
	if err != nil {
		return err
	}
	var broken []string
	for _, j := range report.Invariants {
		if j.Verdict == audit.BrokenRule {
			broken = append(broken, string(j.Name))
		}
	}
	if len(broken) > 0 {
		return &brokenError{"broken: " + strings.Join(broken, ", ") + "; docs/troubleshoot.md says what to do"}
	}
	if err := audit.Incomplete(st); err != nil {
		return fmt.Errorf("the audit is not complete: %w", err)
	}
	return nil
}

// look audits, and, if anything is found, audits again a moment later.
func look(ctx context.Context, c client.Client, namespace string) (*inventory.State, []audit.Finding, error) {
	st := survey.Read(ctx, c, namespace, auditParts...)
	if st.Require(inventory.Pools, inventory.Peers, inventory.Ranges) != nil && len(st.Unread) == len(auditParts) {
		return nil, nil, st.Require(inventory.Peers) // nothing at all could be read
	}
	first := audit.Audit(st)
	if len(first) == 0 {
		return st, nil, ctx.Err()
	}
	pause := time.NewTimer(secondLook)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-pause.C:
	}
	st = survey.Read(ctx, c, namespace, auditParts...)
	return st, audit.Confirm(first, audit.Audit(st)), ctx.Err()
}

// showReport draws a report: a line an invariant, its findings below it.
func showReport(p *display.Page, r audit.Report, wide bool) error {
	counts := []string{}
	for _, part := range auditParts {
		if n, ok := r.Checked[part]; ok {
			counts = append(counts, fmt.Sprintf("%d %s", n, part))
		}
	}
	if err := p.Line(display.Plain, "checked %s", strings.Join(counts, ", ")); err != nil {
		return err
	}
	for _, j := range r.Invariants {
		if err := judged(p, j, wide); err != nil {
			return err
		}
	}
	for _, part := range slices.Sorted(maps.Keys(r.NotChecked)) {
		if err := p.Line(display.Warn, "! %s could not be read: %s", part, r.NotChecked[part]); err != nil {
			return err
		}
	}
	if r.OK && len(r.NotChecked) == 0 {
		return p.Line(display.Good, "all invariants hold")
	}
	return nil
}

func judged(p *display.Page, j audit.Judged, wide bool) error {
	text := fmt.Sprintf("%-10s  %s", j.Name, j.Verdict)
	style := display.Good
	switch j.Verdict {
	case audit.BrokenRule:
		style = display.Bad
	case audit.NotChecked:
		style = display.Warn
		missing := make([]string, len(j.Missing))
		for i, part := range j.Missing {
			missing[i] = string(part)
		}
		text += ": for want of " + strings.Join(missing, ", ")
	}
	if wide {
		text += ": " + j.Statement
	}
	if err := p.Line(style, "%s", text); err != nil {
		return err
	}
	for _, f := range j.Findings {
		mark, style := "!", display.Bad
		if f.Passing {
			mark, style = "~", display.Faint
		}
		if err := p.Line(style, "  %s %s: %s", mark, f.Object, f.Message); err != nil {
			return err
		}
	}
	return nil
}
