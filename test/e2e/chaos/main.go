// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command chaos breaks a real cluster at random for as long as it is told, and
// judges what was seen: go run ./test/e2e/chaos --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard()) // API servers that are away are no news here
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const long = `Runs Selvage for real and breaks it at random: etcd, two API servers, two
controllers, and machines made of network namespaces with the real agent and
the real CNI plugin, whose leases last 5 seconds. Programs are killed and
frozen, cables are cut in one direction or both, machines lose power or come
back with another disk, Nodes are deleted, and peers are removed again and
again, by writers who do not agree.

What is judged:
  - every change in etcd, in etcd's order, by the invariants of
    kubectl selvage check and of each single step of ownership;
  - each address, as a register that at most one pod holds: who was given it,
    who let it go, who answers on it (porcupine);
  - at the end, when nothing is broken any more: everything comes to rest, every
    removal has ended or says what it waits for, kubectl selvage check is clean,
    and all pods reach each other.

It takes root. No packet leaves the namespaces that it makes. Logs, every change
and the seed are kept.`

const examples = `  make chaos
  make chaos CHAOS_MINUTES=60 CHAOS_SEED=7
  go run ./test/e2e/chaos --minutes 2
  # Does it notice? The survivors' fence is torn down, and a live machine is
  # declared off: this must fail.
  go run ./test/e2e/chaos --minutes 1 --sabotage`

type options struct {
	minutes  float64
	seed     uint64
	dir, bin string
	hosts    int
	lease    time.Duration
	sabotage bool
}

func newCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use: "chaos", Short: "Break a real cluster at random, and judge what was seen", Long: long, Example: examples,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.Float64Var(&o.minutes, "minutes", 5, "how long things are broken; making and judging come on top")
	f.Uint64Var(&o.seed, "seed", 0, "of all that is random in what is done; 0: another one each time")
	f.StringVar(&o.dir, "dir", "", "where logs and history go (default bin/artifacts/chaos-SEED)")
	f.StringVar(&o.bin, "bin", "", "where Selvage's programs are; empty: they are built")
	f.IntVar(&o.hosts, "hosts", 8, "how many machines there are, 4 at least")
	f.DurationVar(&o.lease, "lease", 5*time.Second, "how long the agents' leases last")
	f.BoolVar(&o.sabotage, "sabotage", false, "tear down what keeps stale pods from being heard, to see that it is noticed")
	return cmd
}
