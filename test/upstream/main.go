// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command upstream runs Kubernetes' own end-to-end tests of pod networking,
// Services and DNS against Selvage, on a cluster of real kubelets that it
// boots: go run ./test/upstream --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/upstream/verdict"
)

func main() {
	log.SetLogger(logr.Discard()) // controller-runtime asks for one, or complains
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const long = `Runs the end-to-end tests of Kubernetes ` + controlplane.KubernetesVersion + ` that are named ` + verdict.Subject + `, unchanged,
against Selvage: it boots a control plane and nodes with real kubelets, applies
config/default, runs a cluster DNS, and then the tests. It takes root, and from
Debian: runc nftables iptables iproute2 mount util-linux containernetworking-plugins.

Which tests are left out, and why, is in test/upstream/left-out.yaml. One that
neither passes nor is on that list is an error. No packet leaves the machine.`

const examples = `  go run ./test/upstream
  go run ./test/upstream --focus 'Services should serve'
  go run ./test/upstream --cni reference --focus 'Granular Checks: Pods'`

func newCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use: "upstream", Short: "Run Kubernetes' own network tests against Selvage", Long: long, Example: examples,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.cni, "cni", "selvage", "the pod network: selvage, or reference (bridge and host-local), to tell a fault of the cluster's from one of Selvage's")
	f.StringVar(&o.encapsulation, "encapsulation", vxlan, "how Selvage's nodes reach each other's pods: vxlan or direct")
	f.StringVar(&o.focus, "focus", "", "run only tests whose names match this regular expression")
	f.StringVar(&o.dir, "dir", "bin/conformance", "where reports, logs and the cluster go")
	f.StringVar(&o.proxyMode, "proxy-mode", "nftables", "kube-proxy's: nftables or iptables")
	f.IntVar(&o.nodes, "nodes", 3, "how many nodes there are, 3 at least; with 6, more tests run")
	f.IntVar(&o.procs, "procs", 6, "how many tests run at once")
	f.BoolVar(&o.keep, "keep", false, "when the tests have ended, leave the cluster up until interrupted")
	return cmd
}
