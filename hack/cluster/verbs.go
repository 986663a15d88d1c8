// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
)

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

func (c *cluster) collect() *cobra.Command {
	return &cobra.Command{
		Use: "collect FOLDER", Short: "Write logs, objects and the nodes' networks into a folder, to explain a failure", Args: cobra.ExactArgs(1),
		Example: `  go run ./hack/cluster collect /tmp/what-happened`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if err := c.ask(cmd.Context(), "POST", "/collect", dir, nil); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), dir)
			return nil
		},
	}
}
