// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/chaos/chronicle"
	"github.com/selvage-net/selvage/test/e2e/chaos/history"
)

const (
	progressInterval = time.Minute
	// judgeLimit is for one address. Histories are judged in milliseconds.
	judgeLimit = time.Minute
)

// judgeAgo is from when on, backwards, all answers to CNI calls are known: no
// runtime waits longer.
const judgeAgo = 30 * time.Second

// tellProgress tells how it stands, and judges what can be judged by now.
func (r *run) tellProgress(ctx context.Context, _ *rand.Rand) {
	every(ctx, progressInterval, func() {
		faults, operations := r.counts.totals()
		t := r.chronicle.Tallies()
		holdings, heard := r.History.Snapshot()
		fmt.Fprintf(r.out, "%8s  %d faults, %d operations, %d removals, %d moves of ranges, %d addresses given, %d answers heard\n",
			r.Now().Round(time.Second), faults, operations, t.Total(), t.Moves, len(holdings), len(heard))
		for _, f := range r.chronicle.Findings() {
			fmt.Fprintln(r.out, "          ", f)
		}
		wrong, _, err := r.registers(context.WithoutCancel(ctx), r.Now()-judgeAgo)
		for _, w := range wrong {
			fmt.Fprintln(r.out, "          ", w)
		}
		if err != nil {
			fmt.Fprintln(r.out, "          ", err)
		}
	})
}

// rest waits until everything has come to rest.
func (r *run) rest(ctx context.Context) error {
	fmt.Fprintf(r.out, "%8s  nothing breaks any more; waiting for rest\n", r.Now().Round(time.Second))
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	if err := r.whole(ctx); err != nil {
		return err
	}
	if r.sabotage {
		return nil
	}
	if err := r.awaitServing(ctx); err != nil {
		return fmt.Errorf("no Progress: %w: %s", err, r.standing())
	}
	if err := r.removalsEnd(ctx); err != nil {
		return err
	}
	if err := r.allReach(ctx); err != nil {
		return err
	}
	return r.check(ctx)
}

// standing is what removals and peers say of themselves.
func (r *run) standing() string {
	var lines []string
	r.chronicle.Look(func(v chronicle.View) {
		for _, one := range v.Removals() {
			lines = append(lines, fmt.Sprintf("removal of %s: %s %s", one.Name, one.Status.Phase, saying(one.Status.Conditions)))
		}
		for _, name := range v.Peers() {
			p := v.Peer(name)
			lines = append(lines, fmt.Sprintf("peer %s: %s %s", name, p.Status.Phase, saying(p.Status.Conditions)))
		}
	})
	for _, m := range r.Machines {
		if said := m.Refused(); said != "" {
			lines = append(lines, fmt.Sprintf("%s refuses pods: %s", m.Name, said))
		}
	}
	return strings.Join(lines, "; ")
}

func saying(conditions []metav1.Condition) string {
	var said []string
	for _, c := range conditions {
		if (c.Type == v1alpha1.ConditionReady) == (c.Status == metav1.ConditionFalse) {
			said = append(said, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
		}
	}
	return strings.Join(said, ", ")
}

// removalsEnd: every removal has ended, or names what it waits for.
func (r *run) removalsEnd(ctx context.Context) error {
	unnamed := ""
	err := r.chronicle.Await(ctx, func(v chronicle.View) bool {
		unnamed = ""
		for _, one := range v.Removals() {
			if one.Status.Phase != v1alpha1.RemovalRemoved && !named(one.Status.Conditions) {
				unnamed = one.Name
			}
		}
		return unnamed == ""
	})
	if err != nil {
		return fmt.Errorf("no Progress: the removal of %s neither ends nor says what it waits for: %s", unnamed, r.standing())
	}
	return nil
}

func named(conditions []metav1.Condition) bool {
	for _, c := range conditions {
		if c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionFalse && c.Reason != "" && c.Message != "" {
			return true
		}
	}
	return false
}

// allReach: each machine's pods hear all others answer.
func (r *run) allReach(ctx context.Context) error {
	lacking := ""
	for {
		began := r.Now()
		pods := map[netip.Addr]string{}
		for _, m := range r.Machines {
			here := m.Pods()
			for name, a := range here {
				pods[a] = name
			}
			if len(here) == 0 {
				lacking = fmt.Sprintf("%s runs no pod: %s", m.Name, m.Refused())
			}
		}
		addresses := make([]netip.Addr, 0, len(pods))
		for a := range pods {
			addresses = append(addresses, a)
		}
		for _, m := range r.Machines {
			m.AskEach(addresses)
		}
		if !wait(ctx, time.Second) {
			return fmt.Errorf("no Progress: not all pods reach each other: %s; %s", lacking, r.standing())
		}
		if lacking = r.unheard(began, pods); lacking == "" {
			return nil
		}
	}
}

// unheard names a machine that has not heard another's pods since then.
func (r *run) unheard(since time.Duration, pods map[netip.Addr]string) string {
	heard := map[[2]string]bool{}
	_, answers := r.History.Snapshot()
	for _, a := range answers {
		if a.Span.Call >= since && pods[a.Address] == a.Pod {
			from, _, _ := strings.Cut(a.Pod, "-")
			heard[[2]string{a.ByHost, from}] = true
		}
	}
	for _, one := range r.Machines {
		for _, other := range r.Machines {
			if !heard[[2]string{one.Name, other.Name}] {
				return fmt.Sprintf("pods on %s do not hear those on %s", one.Name, other.Name)
			}
		}
	}
	return ""
}

// check is kubectl selvage check, until it is clean: a pod's report may be on
// its way.
func (r *run) check(ctx context.Context) error {
	for {
		out, err := r.Check(ctx)
		if err == nil {
			fmt.Fprintf(r.out, "kubectl selvage check is clean:\n%s", out)
			return nil
		}
		if !wait(ctx, time.Second) {
			return fmt.Errorf("kubectl selvage check: %w:\n%s", err, out)
		}
	}
}

// violations are all that was seen to be wrong.
func (r *run) violations(ctx context.Context) ([]string, error) {
	if err := r.chronicle.Settle(ctx); err != nil {
		return nil, err
	}
	var wrong []string
	for _, f := range r.chronicle.Findings() {
		wrong = append(wrong, f.String())
	}
	holdings, heard := r.History.Snapshot()
	for _, h := range holdings {
		if h.Sure && !r.chronicle.MayOwn(h.Host, h.Address, h.Added) {
			wrong = append(wrong, fmt.Sprintf("Fenced: %s was given to %s on %s, whose peer did not own it (ADD from %s to %s)",
				h.Address, h.Pod, h.Host, h.Added.Call, h.Added.Return))
		}
	}
	registers, counted, err := r.registers(ctx, history.Never)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(r.out, "%d addresses given to pods; %d answers heard, %d of them in the reachable network for certain\n", len(holdings), len(heard), counted)
	crashes, err := r.crashes()
	return append(append(wrong, registers...), crashes...), err
}

// registers judges each address, by the answers asked for until then.
func (r *run) registers(ctx context.Context, until time.Duration) (wrong []string, counted int, err error) {
	holdings, heard := r.History.Snapshot()
	reachable := heard[:0]
	for _, a := range heard {
		if a.Span.Call <= until && r.chronicle.Reachable(a.ByHost, a.Span) {
			reachable = append(reachable, a)
		}
	}
	for i, v := range history.Judge(ctx, holdings, reachable, r.chronicle.Losses(), judgeLimit) {
		verdict := "OneHolder: no register could have the history of"
		if v.Undecided {
			verdict = "undecided within " + judgeLimit.String() + ":"
		}
		path := filepath.Join(r.dir, fmt.Sprintf("address-%s.html", v.Address))
		if err := porcupine.VisualizePath(history.Model(), v.Info, path); err != nil {
			path = err.Error()
		}
		story := filepath.Join(r.dir, fmt.Sprintf("address-%s.txt", v.Address))
		if err := os.WriteFile(story, []byte(strings.Join(v.Story, "\n")+"\n"), 0o644); err != nil {
			return nil, 0, fmt.Errorf("keeping a history: %w", err)
		}
		if i < 20 {
			wrong = append(wrong, fmt.Sprintf("%s %s (%s, %s)", verdict, v.Address, story, path))
		}
	}
	return wrong, len(reachable), nil
}

var crash = regexp.MustCompile(`(?m)^(panic:|fatal error:|WARNING: DATA RACE).*$`)

// crashes looks for programs that ended by a fault of their own.
func (r *run) crashes() (found []string, err error) {
	logs, err := filepath.Glob(filepath.Join(r.dir, "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if line := crash.Find(text); line != nil {
			found = append(found, fmt.Sprintf("%s: %s", path, bytes.TrimSpace(line)))
		}
	}
	return found, err
}

// errViolation: something was seen that must not be.
var errViolation = errors.New("an invariant was violated, or something did not come to rest: the report says what")

// conclude judges, and tells.
func (r *run) conclude(ctx context.Context, restless error) error {
	wrong, err := r.violations(ctx)
	if err != nil {
		return err
	}
	if restless != nil {
		wrong = append(wrong, restless.Error())
	}
	report, err := os.Create(filepath.Join(r.dir, "report.txt"))
	if err != nil {
		return fmt.Errorf("keeping the report: %w", err)
	}
	defer report.Close()
	t := r.chronicle.Tallies()
	var text bytes.Buffer
	fmt.Fprintf(&text, "\nseed %d: %s of faults, %d machines, leases of %s\n", r.seed, r.counts.took.Round(time.Second), r.hosts, r.lease)
	table(&text, "operations", r.counts.operations)
	table(&text, "faults", r.counts.faults)
	table(&text, "removals that ended (reason, evidence)", t.Removed)
	fmt.Fprintf(&text, "PeerRemovals declared: %d; removals cancelled while fencing: %d\n", t.Declared, t.Cancelled)
	fmt.Fprintf(&text, "changes in etcd: %d, judged: %d; changes of ownership: %d\n", t.Revisions, t.Judged, t.Moves)
	for _, m := range r.Machines {
		if n := m.Ended(); n > 0 {
			fmt.Fprintf(&text, "the agent of %s ended by itself %d times\n", m.Name, n)
		}
	}
	for _, c := range r.Controllers {
		if n := c.Ended(); n > 0 {
			fmt.Fprintf(&text, "%s ended by itself %d times, as one does that has lost its leadership\n", c.Name, n)
		}
	}
	verdict := "verdict: no violation"
	if len(wrong) > 0 {
		verdict = fmt.Sprintf("verdict: %d VIOLATIONS\n  %s", len(wrong), strings.Join(wrong, "\n  "))
	}
	fmt.Fprintf(&text, "%s\nkept in %s\n", verdict, r.dir)
	if _, err := report.Write(text.Bytes()); err != nil {
		return fmt.Errorf("keeping the report: %w", err)
	}
	fmt.Fprint(r.out, text.String())
	if len(wrong) > 0 {
		return errViolation
	}
	return nil
}
