// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

// mapParts are what a map is drawn from: peers before ranges, which name them.
var mapParts = []inventory.Part{inventory.Pools, inventory.Removals, inventory.Peers, inventory.Ranges, inventory.Leases}

const (
	// redrawEvery is the shortest time between two drawings of --watch: a
	// large cluster changes all the time.
	redrawEvery = time.Second
	// refreshEvery is the longest on a terminal: ages grow, windows are resized.
	refreshEvery = 5 * time.Second
)

// charting is what the flags of map say.
type charting struct {
	canvas display.Canvas
	watch  bool
	out    *output
}

func (s *session) mapCommand() *cobra.Command {
	m := &charting{}
	cmd := &cobra.Command{
		Use:   "map",
		Short: "Draw the address space: who owns what, how full it is, what is moving",
		Long: `Draw each pool as a grid of equal cells: a letter for the owner of each, and below it how
full it is, or a sign if something is to be known of it: in transfer, sealed, its owner
being removed or unreachable, and so on. The largest owners are named below the grid, and
everything that is on the move is told in words.

The drawing is as wide as the terminal (or COLUMNS). Colours are drawn on terminals, and
never with NO_COLOR. docs/map.md explains it.`,
		Example: `  kubectl selvage map
  kubectl selvage map --watch
  kubectl selvage map --rows 4 --owners 5
  kubectl selvage map -o json | jq '.pools[].moving'`,
		Args:              exactly(0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&m.watch, "watch", "w", false, "Draw again whenever something changes, until interrupted")
	flags.IntVar(&m.canvas.Rows, "rows", 8, "The most rows that a pool may take")
	flags.IntVar(&m.canvas.Owners, "owners", 10, "How many owners of each pool are named, at most 26")
	m.out = addOutput(cmd, false, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if m.canvas.Rows < 1 || m.canvas.Rows > 256 {
			return usage("--rows %d: between 1 and 256", m.canvas.Rows)
		}
		if m.canvas.Owners < 0 || m.canvas.Owners > display.MaxOwners {
			return usage("--owners %d: between 0 and %d", m.canvas.Owners, display.MaxOwners)
		}
		if _, err := m.out.drawn(); err != nil {
			return err
		}
		st, err := s.read(cmd.Context(), mapParts...)
		if err != nil {
			return err
		}
		// A map without its ranges would be a wrong answer.
		if err := st.Require(inventory.Pools, inventory.Ranges); err != nil {
			return err
		}
		if m.watch {
			return s.watchMap(cmd.Context(), m, st)
		}
		return s.chart(s.Out, m, st)
	}
	return cmd
}

// chart draws a map, or writes it as a document.
func (s *session) chart(to io.Writer, m *charting, st *inventory.State) error {
	chart := display.Chart(st)
	if drawn, err := m.out.drawn(); err != nil || !drawn {
		if err != nil {
			return err
		}
		return m.out.report(to, "Map", chart)
	}
	m.canvas.Width, _ = measure(s.Out)
	page := &display.Page{Writer: to, Colour: printers.AllowsColorOutput(s.Out), Now: time.Now()}
	return page.Map(chart, m.canvas)
}

// watchMap draws until it is interrupted, which is how it ends.
func (s *session) watchMap(ctx context.Context, m *charting, first *inventory.State) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	follower, err := survey.Follow(ctx, cluster, first, mapParts...)
	if err != nil {
		return err
	}
	view := &screen{out: s.Out}
	defer view.end()
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	for {
		if err := s.redraw(ctx, m, follower, view); err != nil {
			return err
		}
		rest := time.NewTimer(redrawEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-follower.Changed:
		case <-refresh.C:
		}
	}
}

func (s *session) redraw(ctx context.Context, m *charting, follower *survey.Follower, view *screen) error {
	var text bytes.Buffer
	if err := s.chart(&text, m, follower.Read(ctx)); err != nil {
		return err
	}
	if since, err := follower.Lost(); err != nil && m.out.format() == "" {
		page := &display.Page{Writer: &text, Colour: printers.AllowsColorOutput(s.Out)}
		if err := page.Line(display.Bad, "! as of %s: nothing has been heard since: %s", since.Format(time.TimeOnly), explain(err)); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // what was read of an ending cache is not shown
	}
	return view.show(text.String())
}
