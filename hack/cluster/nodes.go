// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/nodes"
)

// nodeFlags are those of up that are about nodes.
type nodeFlags struct {
	count             int
	family            string
	proxyMode         string
	cni               string
	podRanges         []string
	kubernetesTimings bool
}

func (n *nodeFlags) add(f *pflag.FlagSet) {
	f.IntVar(&n.count, "nodes", 0, "how many nodes with kubelet, containerd and kube-proxy (root)")
	f.StringVar(&n.family, "ip-family", "ipv4", "addresses of Services, pods and nodes: ipv4, ipv6 or dual")
	f.StringVar(&n.proxyMode, "proxy-mode", "nftables", "kube-proxy's: nftables or iptables")
	f.StringVar(&n.cni, "cni", "none", "the pod network: none (you install one), or reference (bridge and host-local)")
	f.StringSliceVar(&n.podRanges, "pod-ranges", nil, "what kube-proxy takes for pods' addresses (default 10.244.0.0/16, fd77:244::/48)")
	f.BoolVar(&n.kubernetesTimings, "kubernetes-timings", false, "notice lost nodes after Kubernetes' some 50 s, instead of the 6 s that suit tests")
}

func (n *nodeFlags) args() []string {
	args := []string{
		fmt.Sprintf("--nodes=%d", n.count), "--ip-family=" + n.family, "--proxy-mode=" + n.proxyMode, "--cni=" + n.cni,
		fmt.Sprintf("--kubernetes-timings=%t", n.kubernetesTimings),
	}
	for _, r := range n.podRanges {
		args = append(args, "--pod-ranges="+r)
	}
	return args
}

// check refuses what cannot be before anything takes time.
func (n *nodeFlags) check(s *serving) error {
	if !slices.Contains([]string{"none", "reference"}, n.cni) {
		return fmt.Errorf("--cni=%s: say none or reference", n.cni)
	}
	if n.count == 0 && (n.cni != "none" || n.family != "ipv4" || len(n.podRanges) > 0) {
		return errors.New("--cni, --ip-family and --pod-ranges are about nodes: say --nodes 3 as well")
	}
	if n.count > 0 && len(s.controllers) > 0 {
		return errors.New("with --nodes all controllers run: leave out --controllers")
	}
	_, err := n.ranges()
	return err
}

func (n *nodeFlags) ranges() (ranges []netip.Prefix, err error) {
	for _, text := range n.podRanges {
		r, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--pod-ranges: %w", err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

func (c *cluster) bootNodes(ctx context.Context, s *serving) (*controlplane.ControlPlane, func(), error) {
	ranges, err := s.nodes.ranges()
	if err != nil {
		return nil, nil, err
	}
	up, err := nodes.Up(ctx, nodes.Options{
		Dir: c.dir, Count: s.nodes.count, Family: nodes.IPFamily(s.nodes.family), ProxyMode: s.nodes.proxyMode,
		PodRanges: ranges, ReferenceCNI: s.nodes.cni == "reference", KubernetesTimings: s.nodes.kubernetesTimings, Out: os.Stdout,
	})
	if err != nil {
		return nil, nil, err
	}
	down := func() {
		if err := up.Down(context.WithoutCancel(ctx)); err != nil {
			fmt.Println("error:", err)
		}
	}
	if err := c.serveControl(ctx, up); err != nil {
		down()
		return nil, nil, err
	}
	return up.ControlPlane, down, nil
}

func (c *cluster) nodeStates(ctx context.Context) (states []nodeState, err error) {
	err = c.ask(ctx, "GET", "/nodes", nil, &states)
	return states, err
}

func printNodes(out io.Writer, states []nodeState) {
	for _, n := range states {
		fmt.Fprintf(out, "%-10s %-7s process %-8d %v\n", n.Name, n.State, n.PID, n.Addresses)
	}
}

const nodeLong = `Without arguments: lists the nodes.

  stop     power cut: every process is killed at once
  start    power on: the disk is as it was; /run, the boot id and the network are new
  reboot   stop and start
  reimage  stop, wipe the disk, start under the old name
  cut      pull the network cable out; the node runs on by itself
  join     plug it in again
  pause    stop every process, as when a virtual machine's host hangs
  resume   let them go on
  add      add a node of this name`

func (c *cluster) node() *cobra.Command {
	wait := true
	cmd := &cobra.Command{
		Use: "node [NAME stop|start|reboot|reimage|cut|join|pause|resume|add]", Short: "Do to a node what happens to machines", Long: nodeLong,
		Example: `  go run ./hack/cluster node
  go run ./hack/cluster node node2 stop
  go run ./hack/cluster node node2 start`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return errors.New("say NAME and what to do, as in: node node2 stop")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				states, err := c.nodeStates(cmd.Context())
				printNodes(cmd.OutOrStdout(), states)
				return err
			}
			return c.runNode(cmd.Context(), cmd.OutOrStdout(), args[0], args[1], wait)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", wait, "after start, reboot, reimage and add: wait until the node's kubelet reports")
	return cmd
}

func (c *cluster) runNode(ctx context.Context, out io.Writer, name, verb string, wait bool) error {
	if err := c.ask(ctx, "POST", "/nodes/"+name+"/"+verb, nil, nil); err != nil {
		return err
	}
	if wait && slices.Contains([]string{"start", "reboot", "reimage", "add"}, verb) {
		if err := c.ask(ctx, "POST", "/nodes/"+name+"/wait", nil, nil); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s: %s done\n", name, verb)
	return nil
}

func (c *cluster) loadImage() *cobra.Command {
	asked := loading{}
	cmd := &cobra.Command{
		Use: "load-image ARCHIVE...", Short: "Import OCI archives into the nodes' containerd", Args: cobra.MinimumNArgs(1),
		Long: `Pods find the image under its name, with imagePullPolicy Never or IfNotPresent.
Without --node it goes into all nodes, those that are off, added or re-imaged later as well.`,
		Example: `  go run ./hack/cluster load-image bin/images/selvage.tar
  go run ./hack/cluster load-image --node node1 bin/images/selvage.tar`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, archive := range args {
				path, err := filepath.Abs(archive)
				if err != nil {
					return err
				}
				if _, err := os.Stat(path); err != nil {
					return err
				}
				asked.Archive = path
				fmt.Fprintf(cmd.OutOrStdout(), "importing %s (usually a second for each 100 MB and node) …\n", archive)
				if err := c.ask(cmd.Context(), "POST", "/images", asked, nil); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&asked.Nodes, "node", nil, "only into this node; may be repeated")
	return cmd
}

func (c *cluster) exec() *cobra.Command {
	return &cobra.Command{
		Use: "exec NODE -- COMMAND", Short: "Run a command on a node, as root", Args: cobra.MinimumNArgs(2),
		Example: `  go run ./hack/cluster exec node1 -- ip route
  go run ./hack/cluster exec node1 -- ctr -n k8s.io images ls
  go run ./hack/cluster exec node1 -- bash`,
		RunE: func(cmd *cobra.Command, args []string) error {
			states, err := c.nodeStates(cmd.Context())
			if err != nil {
				return err
			}
			at := slices.IndexFunc(states, func(n nodeState) bool { return n.Name == args[0] })
			if at < 0 || states[at].PID == 0 {
				return fmt.Errorf("no node %s is on: go run ./hack/cluster node", args[0])
			}
			inside := nodes.Command(cmd.Context(), states[at].PID, args[1], args[2:]...)
			inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return passOn(inside.Run())
		},
	}
}

// passOn ends this program as the other one ended, which has said why itself.
func passOn(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return err
}

func (c *cluster) logs() *cobra.Command {
	follow := false
	cmd := &cobra.Command{
		Use: "logs [NODE] [PROGRAM]", Short: "Show a program's output, or which there is; also when all is down", Args: cobra.MaximumNArgs(2),
		Example: `  go run ./hack/cluster logs
  go run ./hack/cluster logs kube-apiserver
  go run ./hack/cluster logs node1 kubelet --follow`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.listLogs(cmd.OutOrStdout())
			}
			path := filepath.Join(c.dir, args[0]+".log")
			if len(args) == 2 {
				path = filepath.Join(c.dir, "nodes", args[0], "logs", args[1]+".log")
			}
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("%w; see: go run ./hack/cluster logs", err)
			}
			show := exec.CommandContext(cmd.Context(), "cat", path)
			if follow {
				show = exec.CommandContext(cmd.Context(), "tail", "-n", "100", "-F", path)
			}
			show.Stdout, show.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return passOn(show.Run())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on showing what is added")
	return cmd
}

func (c *cluster) listLogs(out io.Writer) error {
	for _, pattern := range []string{"*.log", "nodes/*/logs/*.log"} {
		found, err := filepath.Glob(filepath.Join(c.dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			name, err := filepath.Rel(c.dir, path)
			if err != nil {
				return err
			}
			name = strings.TrimSuffix(strings.NewReplacer("nodes/", "", "/logs/", " ").Replace(name), ".log")
			fmt.Fprintf(out, "%-32s %s\n", name, path)
		}
	}
	return nil
}
