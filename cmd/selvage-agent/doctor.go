// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/selvage-net/selvage/node-agent/datapath"
	"github.com/selvage-net/selvage/node-agent/diagnosis"
	"github.com/selvage-net/selvage/node-agent/diagnosis/node"
)

// errUnwell is doctor's verdict; what is wrong has been printed.
var errUnwell = errors.New("something is wrong on this node")

func newDoctor(o *options) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what goes wrong on this node, and say what to do",
		Long: `Look for what goes wrong on this node: kernel features, MTUs, routes and filters
of others, the CNI folder, stale sandboxes, the clock, and whether the peers can be
reached through the tunnels. It reads, changes nothing, asks no API server, and works
beside an agent that runs or without one. Give it the flags that the agent has.

Exits 1 if anything is found that is an error. kubectl selvage doctor NODE runs it in
the node's agent pod, with that agent's flags.`,
		Example: `  kubectl -n selvage-system exec selvage-agent-x7k2p -- /selvage-agent doctor --cri-socket=/run/containerd/containerd.sock
  selvage-agent doctor --node-name=host3 --health-probe-bind-address=:9784
  selvage-agent doctor -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.doctor(cmd.Context(), format, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", format, "text or json")
	return cmd
}

func (o *options) doctor(ctx context.Context, format string, out io.Writer) error {
	if format != "text" && format != "json" {
		return fmt.Errorf("-o %s: must be text or json", format)
	}
	hostName, _ := os.Hostname()
	def := datapath.DefaultOptions()
	report := diagnosis.Judge(node.Collect(ctx, node.Config{
		Node: cmp.Or(o.nodeName, hostName), Version: version, Proc: "/proc", Sys: "/sys",
		Datapath: datapath.Options{Device: def.Device, Prefix: def.Prefix, Encapsulation: o.encapsulation, Port: o.vxlanPort, VNI: o.vxlanID, MTU: o.mtu, Sysctls: o.sysctlDir},
		ConfDir:  o.confDir, BinDir: o.binDir, CRISocket: o.criSocket, Port: healthPort(o.health),
		Agent: control(filepath.Join(o.runDir, controlSocket)).state,
	}))
	if err := ctx.Err(); err != nil {
		return err
	}
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	} else {
		tell(out, &report)
	}
	if report.Worst(diagnosis.Error) {
		return errUnwell
	}
	return nil
}

// healthPort is where the agents of all nodes answer, if they are started with
// the same flags as this one; 0: nowhere.
func healthPort(address string) int {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return port
}

// state asks the agent that runs here how it is.
func (c control) state(ctx context.Context) diagnosis.AgentState {
	now, err := c.progress(ctx)
	if err != nil {
		return diagnosis.AgentState{Why: err.Error()}
	}
	return diagnosis.AgentState{Answers: true, Row: now.Row, Refused: now.Refused, Waiting: now.Waiting}
}

// tell prints a report for people: a line a check, what was found below it.
func tell(out io.Writer, r *diagnosis.Report) {
	for _, result := range r.Results {
		fmt.Fprintf(out, "%-12s %-14s %s\n", result.Verdict, result.Check, result.Looked)
		for _, f := range r.Findings {
			if f.Check == result.Check {
				fmt.Fprintf(out, "  %s: %s: %s\n    do: %s\n", f.Severity, f.Object, f.Message, f.Remedy)
			}
		}
	}
}
