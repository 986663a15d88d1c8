// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/checkup"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

const (
	// doctorsAtOnce is how many nodes are looked at at once.
	doctorsAtOnce = 8
	// doctorTime is for one node: it waits for what does not answer.
	doctorTime = time.Minute
)

func (s *session) doctor() *cobra.Command {
	everywhere := false
	cmd := &cobra.Command{
		Use:   "doctor [NODE...]",
		Short: "Look for what goes wrong in practice, and say what to do",
		Long: `Look for what goes wrong in practice, and say what to do about each finding.

Without a node, the cluster as the API shows it: CRDs and admission policies, controller,
agents and their versions, leases, pools, removals that wait for a person. With nodes, what
of that concerns them, and the nodes themselves: kernel features, MTUs, routes and filters
of others, the CNI folder, stale sandboxes, the clock, and whether peers can be reached
through the tunnels. That runs in the node's agent pod, and takes the right to create
pods/exec in Selvage's namespace. --all-nodes looks at every node, and compares them.

Exits 0 if no error is found (warnings may be), 3 if one is, and 1 if a node could not be
looked at. What cannot be read for want of a right is said, and not taken for wrong.
docs/doctor.md has each check, and what it does not see.`,
		Example: `  kubectl selvage doctor
  kubectl selvage doctor host3
  kubectl selvage doctor --all-nodes -o json | jq '.reports[].findings[]'`,
		ValidArgsFunction: s.completePeers(-1),
	}
	cmd.Flags().BoolVar(&everywhere, "all-nodes", false, "Look at every node that has an agent, too")
	out := addOutput(cmd, false, "", "wide")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if everywhere && len(names) > 0 {
			return usage("--all-nodes, or names: %q", names)
		}
		drawn, err := out.drawn()
		if err != nil {
			return err
		}
		d, err := s.diagnose(cmd.Context(), names, everywhere)
		if err != nil {
			return err
		}
		if drawn {
			err = s.page(out).Diagnosis(*d, out.wide())
		} else {
			err = out.report(s.Out, "Doctor", d)
		}
		return errors.Join(err, judgement(d))
	}
	return cmd
}

// judgement turns a diagnosis into an exit code.
func judgement(d *display.Diagnosis) error {
	switch {
	case !d.OK:
		return &brokenError{"something is wrong; each finding says what to do"}
	case len(d.Unreached) > 0:
		return errors.New("not every node could be looked at")
	}
	return nil
}

// diagnose looks at the cluster, and at nodes.
func (s *session) diagnose(ctx context.Context, names []string, everywhere bool) (*display.Diagnosis, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	cluster, err := s.cluster()
	if err != nil {
		return nil, err
	}
	seen := survey.Checkup(ctx, c, cluster, s.namespace())
	seen.Client, seen.Now = s.version, time.Now()
	// Nothing at all could be read: that is no finding.
	if err := seen.Require(inventory.Peers); err != nil && seen.Unread[checkup.Server] != nil {
		return nil, err
	}
	whole := checkup.Judge(seen)
	d := &display.Diagnosis{Unreached: map[string]string{}}
	if len(names) == 0 {
		d.Reports = append(d.Reports, whole)
	}
	for _, name := range names {
		d.Reports = append(d.Reports, checkup.About(whole, name))
		d.Reports[len(d.Reports)-1].Subject = "cluster, about " + name
	}
	if everywhere {
		for i := range seen.Agents {
			names = append(names, seen.Agents[i].Spec.NodeName)
		}
		slices.Sort(names)
	}
	if err := seen.Unread[checkup.Ours]; err != nil && (everywhere || len(names) > 0) {
		return nil, err
	}
	nodes := s.visit(ctx, cluster, seen, names, d.Unreached)
	d.Reports = append(d.Reports, nodes...)
	if different := checkup.Compare(nodes); len(nodes) > 1 {
		d.Reports = append(d.Reports, compared(different))
	}
	d.OK = d.Errors() == 0
	return d, ctx.Err()
}

func compared(different []diagnosis.Finding) diagnosis.Report {
	r := diagnosis.Report{Subject: "nodes, compared", Findings: different, Results: []diagnosis.Result{
		{Check: checkup.SameEverywhere, Verdict: diagnosis.OK, Looked: "encapsulation, port, identifier and MTU of each"},
	}}
	if len(different) > 0 {
		r.Results[0].Verdict = diagnosis.Found
	}
	return r
}

// visit runs the doctor on nodes, some at once.
func (s *session) visit(ctx context.Context, cluster survey.Cluster, seen *checkup.Cluster, names []string, unreached map[string]string) []diagnosis.Report {
	var mu sync.Mutex
	reports := map[string]diagnosis.Report{}
	var all errgroup.Group
	all.SetLimit(doctorsAtOnce)
	for _, name := range names {
		all.Go(func() error {
			r, err := s.visitOne(ctx, cluster, seen, name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unreached[name] = explain(err)
				return nil
			}
			reports[name] = r
			if len(names) > 1 {
				_, _ = fmt.Fprintf(s.ErrOut, "looked at %s (%d of %d)\n", name, len(reports)+len(unreached), len(names))
			}
			return nil
		})
	}
	_ = all.Wait() // none of them fails
	var inOrder []diagnosis.Report
	for _, name := range names {
		if r, ok := reports[name]; ok {
			inOrder = append(inOrder, r)
		}
	}
	return inOrder
}

func (s *session) visitOne(ctx context.Context, cluster survey.Cluster, seen *checkup.Cluster, name string) (diagnosis.Report, error) {
	at := slices.IndexFunc(seen.Agents, func(p corev1.Pod) bool { return p.Spec.NodeName == name })
	if at < 0 {
		return diagnosis.Report{}, fmt.Errorf("no agent's pod of namespace %s is on a node of that name: on the node itself, run selvage-agent doctor", s.namespace())
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	r, err := survey.Doctor(ctx, cluster, &seen.Agents[at])
	if r.Subject == "" {
		r.Subject = "node/" + name
	}
	return r, err
}
