// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Workload is what runs in the pods of the tests on real nodes, and what asks
// them: it answers with its own name over TCP and UDP, asks others, and keeps
// a flow going and counts what it loses.
//
//	workload serve                      answer on TCP and UDP port 8080
//	workload ask tcp 10.32.0.7:8080     print who answered and whom he saw
//	workload ask --size 1400 udp …      with a payload of that size, unfragmented
//	workload flow --rate 100 udp …      send numbered messages, print the losses at the end
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "workload", Short: "What runs in the pods of the tests", SilenceUsage: true}
	root.AddCommand(serveCommand(), askCommand(), apiCommand(), flowCommand(), enoughCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func serveCommand() *cobra.Command {
	var address, name string
	cmd := &cobra.Command{
		Use: "serve", Short: "Answer on TCP and UDP with one's name and the asker's address", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), address, name) },
	}
	cmd.Flags().StringVar(&address, "listen", ":8080", "the address, for TCP and UDP")
	cmd.Flags().StringVar(&name, "name", os.Getenv("NAME"), "who answers")
	return cmd
}

func askCommand() *cobra.Command {
	var a asker
	cmd := &cobra.Command{
		Use: "ask tcp|udp ADDRESS", Short: "Print who answers, and from which address he was asked", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := a.ask(cmd.Context(), args[0], args[1])
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
			}
			return err
		},
	}
	cmd.Flags().IntVar(&a.size, "size", 0, "bytes sent and expected back; with UDP unfragmented")
	cmd.Flags().DurationVar(&a.patience, "timeout", defaultPatience, "how long to wait")
	return cmd
}

func flowCommand() *cobra.Command {
	var f flow
	cmd := &cobra.Command{
		Use: "flow tcp|udp ADDRESS", Short: "Keep one flow going until SIGTERM, then print what was lost, as JSON", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), args[0], args[1], cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&f.rate, "rate", 100, "messages a second")
	cmd.Flags().StringVar(&f.stop, "until", "", "stop when this file exists, too")
	cmd.Flags().DurationVar(&f.grace, "grace", defaultPatience, "how long to wait for the last answers")
	return cmd
}

func enoughCommand() *cobra.Command {
	return &cobra.Command{
		Use: "enough FILE", Short: "End the flow that waits for this file", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := tell(args[0])
			return err
		},
	}
}
