// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

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

	"github.com/selvage-net/selvage/test/standalone"
)

type options struct {
	plugin  string
	debian  string
	output  string
	rounds  int
	pods    int
	workers int
	check   bool
}

func main() {
	standalone.BecomeAgent()
	var o options
	flag.StringVar(&o.plugin, "plugin", "bin/selvage", "our plugin's binary")
	flag.StringVar(&o.debian, "debian", "/usr/lib/cni", "the directory of bridge and host-local")
	flag.StringVar(&o.output, "o", "", "file to write the results to, besides standard output")
	flag.IntVar(&o.rounds, "rounds", 5, "interleaved rounds, of which the medians are taken")
	flag.IntVar(&o.pods, "pods", 150, "pods that are added and deleted in each part of a round")
	flag.IntVar(&o.workers, "workers", 8, "workers of the parallel part")
	flag.BoolVar(&o.check, "check", false, "fail if a goal is missed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces take root: sudo make bench")
	}
	for _, name := range []string{"bridge", "host-local"} {
		if _, err := os.Stat(filepath.Join(o.debian, name)); err != nil {
			return fmt.Errorf("there is nothing to compare with, apt-get install containernetworking-plugins: %w", err)
		}
	}
	if _, err := os.Stat(o.plugin); err != nil {
		return fmt.Errorf("our plugin is not built, make build: %w", err)
	}
	stage, err := newStage(ctx, o)
	if err != nil {
		return err
	}
	defer stage.close()
	ours, theirs, err := stage.measure(ctx, o)
	if err != nil {
		return err
	}
	text, met := report(o, ours, theirs)
	fmt.Print(text)
	if o.output != "" {
		err = errors.Join(os.MkdirAll(filepath.Dir(o.output), 0o755), os.WriteFile(o.output, []byte(text), 0o644))
	}
	if !met && o.check {
		err = errors.Join(err, errors.New("a goal is missed"))
	}
	return err
}
