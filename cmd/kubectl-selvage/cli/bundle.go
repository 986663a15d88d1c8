// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/audit"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/bundle"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

// gathering is one support bundle being made.
type gathering struct {
	*session
	*bundle.Bundle
	client    client.Client
	cluster   survey.Cluster
	limit     survey.LogLimit
	mostPods  int
	everyNode bool
}

func (s *session) supportBundle() *cobra.Command {
	g := &gathering{session: s, limit: survey.LogLimit{Bytes: 2 << 20, Time: 30 * time.Second}}
	file := ""
	cmd := &cobra.Command{
		Use:   "support-bundle",
		Short: "Collect what a maintainer needs into one file, without secrets",
		Long: `Collect what a maintainer needs into one file: Selvage's objects, Leases and Events, its
manifests, the ends of the agents' and controllers' logs, and what status, map, check and
doctor say.

No Secret is read. Values of environment variables, annotations of others, and what looks
like a token, a key or a certificate are taken out of everything. Names and addresses of
nodes and pods stay: look through the file before you publish it.

What could not be collected is in the file's errors.txt, and on standard error; the exit
code is then 1, and the file is there all the same.`,
		Example: `  kubectl selvage support-bundle
  kubectl selvage support-bundle -o /tmp/selvage.tar.gz --all-nodes
  tar -tzf /tmp/selvage.tar.gz`,
		Args:              exactly(0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "output", "o", "", "The file to write, which must not exist yet (default selvage-support-TIME.tar.gz)")
	flags.Int64Var(&g.limit.Lines, "log-lines", 2000, "How many lines of each container's log, and of its last run's, are taken")
	flags.IntVar(&g.mostPods, "pods", 50, "How many pods' logs are taken at most; those that are not ready come first")
	flags.BoolVar(&g.everyNode, "all-nodes", false, "Run the doctor on every node, too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if g.limit.Lines < 1 || g.mostPods < 0 {
			return usage("--log-lines %d, --pods %d: must not be negative, and at least one line", g.limit.Lines, g.mostPods)
		}
		now := time.Now().UTC()
		root := "selvage-support-" + now.Format("20060102T150405Z")
		if file == "" {
			file = root + ".tar.gz"
		}
		g.Bundle = &bundle.Bundle{Root: root}
		return g.make(cmd.Context(), file, now)
	}
	return cmd
}

// make collects and writes.
func (g *gathering) make(ctx context.Context, file string, now time.Time) (err error) {
	if g.client, err = g.session.client(); err != nil {
		return err
	}
	if g.cluster, err = g.session.cluster(); err != nil {
		return err
	}
	// Before anything is collected: is there a cluster, and a place?
	if err := survey.Read(ctx, g.client, g.namespace(), inventory.Peers).Require(inventory.Peers); err != nil && !isAnswer(err) {
		return err
	}
	to, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already: name another file with -o", file)
	}
	if err != nil {
		return err
	}
	g.objects(ctx)
	g.versions(ctx)
	g.words(ctx, now)
	g.logs(ctx)
	if err := ctx.Err(); err != nil {
		return errors.Join(fmt.Errorf("interrupted: %w", err), to.Close(), os.Remove(file))
	}
	if err := errors.Join(g.Write(to, now), to.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	_, _ = fmt.Fprintln(g.Out, file)
	if failed := g.Failures(); len(failed) > 0 {
		return fmt.Errorf("not all could be collected (errors.txt in the bundle has it, too):\n  %s", strings.Join(failed, "\n  "))
	}
	return nil
}

// isAnswer says that an API server has answered, if only to refuse this.
func isAnswer(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsUnauthorized(err)
}

func (g *gathering) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(g.ErrOut, format+"\n", args...)
}

func (g *gathering) fail(what string, err error) {
	if err != nil {
		why, _, _ := strings.Cut(explain(err), "\n") // the remedy is told once, in docs/support-bundle.md
		g.Fail(what, errors.New(why))
	}
}

func (g *gathering) objects(ctx context.Context) {
	for _, h := range survey.Holdings() {
		name := strings.ToLower(h.Kind.Kind)
		g.progress("collecting %s objects", h.Kind.Kind)
		objects, err := h.List(ctx, g.client, g.namespace())
		if err != nil {
			g.fail("objects/"+name, err)
			continue
		}
		g.Objects("objects/"+name+".yaml", objects)
	}
}

func (g *gathering) versions(ctx context.Context) {
	seen := survey.Checkup(ctx, g.client, g.cluster, g.namespace())
	text, err := json.MarshalIndent(map[string]any{
		"client": g.version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "server": seen.Server.GitVersion, "agents": agents(seen.State),
	}, "", "  ")
	g.fail("versions.json", err)
	g.Text("versions.json", string(text)+"\n")
}

// words are what the other commands say.
func (g *gathering) words(ctx context.Context, now time.Time) {
	g.progress("running status, map and check")
	st := survey.Read(ctx, g.client, g.namespace(), inventory.Pools, inventory.Removals, inventory.Peers, inventory.Ranges, inventory.Leases)
	g.say("status.txt", now, func(p *display.Page) error { return p.Overview(display.Summarise(st, now)) })
	g.say("ipam.txt", now, func(p *display.Page) error { return p.IPAM(display.Shares(st), true) })
	g.say("map.txt", now, func(p *display.Page) error {
		return p.Map(display.Chart(st), display.Canvas{Width: 120, Rows: 16, Owners: display.MaxOwners})
	})
	checked, findings, err := look(ctx, g.client, g.namespace())
	g.fail("check.txt", err)
	if err == nil {
		g.say("check.txt", now, func(p *display.Page) error { return showReport(p, audit.Compile(checked, findings), true) })
	}
	g.progress("running doctor")
	d, err := g.diagnose(ctx, nil, g.everyNode)
	g.fail("doctor.txt", err)
	if err == nil {
		g.say("doctor.txt", now, func(p *display.Page) error { return p.Diagnosis(*d, true) })
		for node, why := range d.Unreached {
			g.Fail("doctor of node "+node, errors.New(why))
		}
	}
}

func (g *gathering) say(name string, now time.Time, what func(*display.Page) error) {
	var text bytes.Buffer
	g.fail(name, what(&display.Page{Writer: &text, Now: now}))
	g.Text(name, text.String())
}

// logs are those of the controllers, and of agents: those not ready first.
func (g *gathering) logs(ctx context.Context) {
	pods, err := survey.Installed(ctx, g.client, g.namespace())
	g.fail("logs", err)
	slices.SortStableFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(urgency(&a), urgency(&b)) })
	if left := len(pods) - g.mostPods; left > 0 {
		g.Text("logs/LEFT-OUT.txt", fmt.Sprintf("the logs of %d of %d pods were not taken: --pods %d\n", left, len(pods), g.mostPods))
		pods = pods[:g.mostPods]
	}
	for i := range pods {
		pod := &pods[i]
		g.progress("collecting logs of %s (%d of %d)", pod.Name, i+1, len(pods))
		for _, c := range pod.Spec.Containers {
			for suffix, previous := range map[string]bool{".log": false, ".previous.log": true} {
				name := "logs/" + pod.Name + "/" + c.Name + suffix
				text, err := survey.Logs(ctx, g.cluster, pod, c.Name, previous, g.limit)
				g.fail(name, err)
				if text != "" {
					g.Text(name, text)
				}
			}
		}
	}
}

// urgency sorts controllers first, then what is not ready, then by name.
func urgency(p *corev1.Pod) string {
	rank := "2"
	if !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
		rank = "1"
	}
	if p.Labels["app.kubernetes.io/component"] == "controller" {
		rank = "0"
	}
	return rank + p.Name
}
