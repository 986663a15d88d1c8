// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Command selvage-agent makes a node part of the Selvage network: it joins,
// allocates addresses to pods, serves the CNI plugin and keeps the datapath.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newCommand()
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	o := defaults()
	root := &cobra.Command{
		Use:   "selvage-agent",
		Short: "Make this node part of the Selvage network",
		Long: `Make this node part of the Selvage network: join, give addresses to pods, serve
the CNI plugin, keep the datapath. Stopping it changes nothing in the kernel:
pods keep talking, and the next agent goes on where this one left off.`,
		Example: `  # As the DaemonSet does (NODE_NAME and POD_NAMESPACE from the environment):
  selvage-agent --metrics-bind-address=:9783 --health-probe-bind-address=:9784

  # By hand, from outside of a cluster:
  selvage-agent --kubeconfig=/etc/selvage/kubeconfig --node-name=host1

  # What is wrong on this node, and what to do about it:
  selvage-agent doctor --node-name=host1

  # Leave the network for good, and wait until that is safe:
  selvage-agent reset --node-name=host1`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	o.addTo(root.PersistentFlags())
	o.addServingTo(root.PersistentFlags())
	root.AddCommand(newReset(o), newDoctor(o), &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  selvage-agent version",
		Run:     func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "selvage-agent", version) },
	})
	return root
}
