// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command cluster boots a real Kubernetes cluster on this machine, for trying
// things out: go run ./hack/cluster --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
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

const long = `Boots a real etcd and kube-apiserver (` + controlplane.KubernetesVersion + `) on this machine's loopback and, with up --nodes,
nodes with kubelet, containerd (` + controlplane.ContainerdVersion + `) and kube-proxy, each in namespaces of its own. No container
engine is needed. Nodes need root and, from Debian: runc nftables iptables iproute2 mount util-linux
containernetworking-plugins. They reach each other and the API server, and nothing else.

The programs come from KUBEBUILDER_ASSETS if that is set, else from a cache, else from
setup-envtest where that can download, else they are built from Go modules, once.
With SELVAGE_KUBERNETES=oldest the control plane is the oldest that Selvage is tested on,
` + controlplane.OldestKubernetesVersion + `; there are no nodes of that.`

const examples = `  go run ./hack/cluster up --install config/default
  go run ./hack/cluster up --nodes 3
  go run ./hack/cluster node node2 stop
  go run ./hack/cluster kubectl -- get crds
  export KUBECONFIG=$(go run ./hack/cluster status --kubeconfig)
  go run ./hack/cluster down`

func newCommand() *cobra.Command {
	c := &cluster{}
	cmd := &cobra.Command{
		Use: "cluster", Short: "Boot a real Kubernetes control plane, and nodes, on this machine", Long: long, Example: examples,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.resolve() },
	}
	cmd.PersistentFlags().StringVar(&c.dir, "dir", "", "where its data and logs are: several clusters need several (default ~/.cache/selvage/cluster)")
	cmd.AddCommand(c.up(), c.down(), c.status(), c.kubectl(), c.serve(), binaries(),
		c.node(), c.loadImage(), c.exec(), c.logs(), c.collect())
	return cmd
}

// cluster is one control plane that outlives the commands about it.
type cluster struct {
	dir string
}

func (c *cluster) resolve() error {
	if c.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no default for --dir: %w", err)
		}
		c.dir = filepath.Join(cache, "selvage", "cluster")
	}
	dir, err := filepath.Abs(c.dir)
	c.dir = dir
	return err
}

func (c *cluster) up() *cobra.Command {
	s := &serving{}
	cmd := &cobra.Command{
		Use: "up", Short: "Boot it, or say that it is up already", Args: cobra.NoArgs,
		Example: `  go run ./hack/cluster up
  go run ./hack/cluster up --install config/default --install config/crd-guard
  go run ./hack/cluster up --nodes 3
  go run ./hack/cluster up --nodes 2 --cni reference --ip-family dual
  go run ./hack/cluster up --controller-manager --controllers garbage-collector-controller`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.nodes.check(s); err != nil {
				return err
			}
			return c.runUp(cmd.Context(), cmd.OutOrStdout(), s)
		},
	}
	s.addFlags(cmd.Flags())
	return cmd
}

func (c *cluster) down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "End it and delete its data; logs stay", Args: cobra.NoArgs,
		Example: `  go run ./hack/cluster down`,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.runDown(cmd.Context(), cmd.OutOrStdout()) },
	}
}

func (c *cluster) status() *cobra.Command {
	var kubeconfig bool
	cmd := &cobra.Command{
		Use: "status", Short: "Say whether it is up, and how to reach it; fails if it is not", Args: cobra.NoArgs,
		Example: `  go run ./hack/cluster status
  export KUBECONFIG=$(go run ./hack/cluster status --kubeconfig)`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.runStatus(cmd.Context(), cmd.OutOrStdout(), kubeconfig)
		},
	}
	cmd.Flags().BoolVar(&kubeconfig, "kubeconfig", false, "print the kubeconfig's path alone")
	return cmd
}

func (c *cluster) kubectl() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl -- ARGS", Short: "Run kubectl on it", Args: cobra.ArbitraryArgs,
		Example: `  go run ./hack/cluster kubectl -- get --raw /readyz?verbose`,
		RunE:    func(cmd *cobra.Command, args []string) error { return c.runKubectl(cmd.Context(), args) },
	}
}

func binaries() *cobra.Command {
	withNodes := false
	cmd := &cobra.Command{
		Use: "binaries", Short: "Find, download or build the programs, and print where they are", Args: cobra.NoArgs,
		Example: `  go run ./hack/cluster binaries`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			paths, err := controlplane.Binaries(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			found := []string{paths.Etcd, paths.APIServer, paths.ControllerManager, paths.Kubectl}
			if withNodes {
				paths, err := controlplane.NodeBinaries(cmd.Context(), cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				found = append(found, paths.Scheduler, paths.Kubelet, paths.Proxy, paths.Containerd, paths.Shim, paths.Ctr)
			}
			for _, p := range found {
				fmt.Fprintln(cmd.OutOrStdout(), p)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&withNodes, "nodes", false, "those of nodes as well")
	return cmd
}
