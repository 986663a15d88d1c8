// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Pods measures on real nodes: how long containerd takes to make a pod's
// sandbox with Selvage, and beside it with bridge and host-local on the same
// node in the same run; and what agent and controller take of a machine, on an
// idle cluster and while pods come and go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
	"github.com/selvage-net/selvage/test/e2e/nodes/stage"
)

type options struct {
	output    string
	rounds    int
	sandboxes int
	churn     int
	idle      time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.output, "o", "", "file to write the results to, besides standard output")
	flag.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	flag.IntVar(&o.sandboxes, "sandboxes", 40, "sandboxes made in each half of a round")
	flag.IntVar(&o.churn, "churn", 200, "pods that come and go")
	flag.DurationVar(&o.idle, "idle", 30*time.Second, "how long the idle cluster is watched")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetLogger(logr.Discard())
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("nodes are namespaces and control groups, which takes root: sudo make bench-pods")
	}
	s, err := stage.Up(ctx, stage.Options{Source: ".", Options: nodes.Options{Out: os.Stderr, Count: 3}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Down(context.WithoutCancel(ctx))) }()
	idle, err := measureIdle(ctx, s, o.idle)
	if err != nil {
		return err
	}
	churn, err := measureChurn(ctx, s, o.churn)
	if err != nil {
		return err
	}
	ours, theirs, err := measureSandboxes(ctx, s, o)
	if err != nil {
		return err
	}
	text := report(o, idle, churn, ours, theirs)
	fmt.Print(text)
	if o.output == "" {
		return nil
	}
	return errors.Join(os.MkdirAll(filepath.Dir(o.output), 0o755), os.WriteFile(o.output, []byte(text), 0o644))
}
