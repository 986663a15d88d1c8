// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/web"
)

func (s *session) web() *cobra.Command {
	port, open := 0, false
	cmd := &cobra.Command{
		Use:   "web",
		Short: "Show the network as a live page in your browser",
		Long: `Show the network as a page in your browser, kept up to date: the ring of ranges, the
peers and their health, and removals with what each waits for.

The page is served by this program, on 127.0.0.1 only, and reads the cluster with your
credentials: it shows what you may see, and can change nothing. Its address has a secret in
it, another one each time: who has the address sees the page. Ctrl-C ends it. docs/web.md
explains it.`,
		Example: `  kubectl selvage web
  kubectl selvage web --port 8844 --open=false

  # from another machine, through ssh
  ssh -t -L 8844:127.0.0.1:8844 jump kubectl selvage web --port 8844`,
		Args:              exactly(0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.IntVar(&port, "port", 0, "The port of 127.0.0.1 to serve on; 0: any that is free")
	flags.BoolVar(&open, "open", false, "Open your browser (by default if this is a terminal, and a browser can be opened)")
	for _, name := range []string{"port", "open"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if port < 0 || port > 65535 {
			return usage("--port %d: between 0 and 65535", port)
		}
		var launcher []string
		if _, height := measure(s.Out); open || (height > 0 && !flags.Changed("open")) {
			launcher = web.Launcher()
		}
		if open && launcher == nil {
			return usage("--open: there is no command here that opens a browser; leave it out, and open the address yourself")
		}
		return s.serve(cmd, port, launcher)
	}
	return cmd
}

// serve serves the page until it is interrupted, which is how it ends.
func (s *session) serve(cmd *cobra.Command, port int, launcher []string) error {
	ctx := cmd.Context()
	first, err := s.read(ctx, mapParts...)
	if err != nil {
		return err
	}
	// A ring without its ranges would be a wrong answer.
	if err := first.Require(inventory.Pools, inventory.Ranges); err != nil {
		return err
	}
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	follower, err := survey.Follow(ctx, cluster, first, mapParts...)
	if err != nil {
		return err
	}
	remove := func() {}
	defer func() { remove() }()
	feed := web.NewFeed(s.clusterName(cluster.Config.Host), follower, follower.Changed, explain)
	return web.Serve(ctx, feed, port, func(url string) {
		_, _ = fmt.Fprintf(s.Out, "%s\n", url)
		_, _ = fmt.Fprintln(s.ErrOut, "Keep this address to yourself: who has it sees what you may see. Ctrl-C ends the page.")
		if launcher == nil {
			return
		}
		path, delete, err := web.Signpost(url)
		if err == nil {
			remove = delete
			err = web.Open(launcher, path)
		}
		if err != nil {
			_, _ = fmt.Fprintf(s.ErrOut, "no browser could be opened (%v): open the address yourself\n", err)
		}
	})
}

// clusterName is how the person calls the cluster: the context's name, and
// where that leads.
func (s *session) clusterName(host string) string {
	host = strings.TrimPrefix(host, "https://")
	raw, err := s.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return host
	}
	name := raw.CurrentContext
	if *s.config.Context != "" {
		name = *s.config.Context
	}
	if name == "" {
		return host
	}
	return name + " (" + host + ")"
}
