// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// versions is what version prints.
type versions struct {
	Client   string `json:"client"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Agents counts the peers by the version of their agent.
	Agents map[string]int `json:"agents,omitempty"`
}

func (s *session) versionCommand() *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and of the agents in the cluster",
		Example: `  kubectl selvage version
  kubectl selvage version --client -o json`,
		Args:              exactly(0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "Ask nothing of the cluster")
	out := addOutput(cmd, false, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		drawn, err := out.drawn()
		if err != nil {
			return err
		}
		v := versions{Client: s.version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
		var unread error
		if !clientOnly {
			var st *inventory.State
			if st, unread = s.read(cmd.Context(), inventory.Peers); unread == nil {
				v.Agents = agents(st)
			}
		}
		if !drawn {
			if err := out.report(s.Out, "Version", v); err != nil {
				return err
			}
			return unread
		}
		page := s.page(out)
		if err := page.Line(display.Plain, "client %s (%s, %s)", v.Client, v.Go, v.Platform); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(v.Agents)) {
			if err := page.Line(display.Plain, "agents %s: %d", name, v.Agents[name]); err != nil {
				return err
			}
		}
		return unread
	}
	return cmd
}

func agents(st *inventory.State) map[string]int {
	count := map[string]int{}
	for i := range st.Peers {
		name := "(not reported)"
		if a := st.Peers[i].Status.Agent; a != nil && a.Version != "" {
			name = a.Version
		}
		count[name]++
	}
	return count
}
