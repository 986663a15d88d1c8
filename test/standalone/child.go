// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// childEnv carries the options to the process that is to be the agent.
const childEnv = "SELVAGE_STANDALONE_AGENT"

// BecomeAgent runs the agent and exits, if this process was started as one. A
// program that uses Command calls it first of all.
func BecomeAgent() {
	text, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	var o Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(2)
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Command is the agent as a process: this program started again.
func Command(ctx context.Context, o Options) (*exec.Cmd, error) {
	o.Log = nil
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	return cmd, nil
}

// SocketPath is where the agent of a run directory listens.
func SocketPath(runDir string) string { return filepath.Join(runDir, wire.Socket) }
