// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// kubectl-selvage shows and changes who is in the network:
// kubectl selvage --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/cli"
)

// version is set at link time.
var version = "dev"

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	return cli.Run(ctx, streams, version, os.Args[1:])
}
