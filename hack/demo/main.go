// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command demo plays Selvage's story on this machine: three hosts, one fire,
// one heir. Everything in it is real but the hosts, which are network
// namespaces.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// options are what the flags say.
type options struct {
	keep          bool
	dir           string
	leaseDuration time.Duration
}

func main() {
	if os.Geteuid() != 0 {
		os.Exit(asRootOfANamespace())
	}
	log.SetLogger(logr.Discard()) // controller-runtime asks for one, or complains
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends it at once; nothing is left over then either.
	go func() { <-ctx.Done(); stop() }()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "\nerror:", err)
		if errors.Is(err, context.Canceled) {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

const long = `Plays Selvage's story on this machine, with a real API server, real agents and real
CNI calls; the hosts are network namespaces. Each step says what it does, what is
expected and what was seen, and a mismatch ends the demo with a non-zero exit code.

It needs root or a user namespace, and cleans up after itself, also on Ctrl-C.`

const examples = `  make demo
  go run ./hack/demo --keep                  # leave everything up to play with, until Ctrl-C
  go run ./hack/demo --lease-duration 60s    # with the default lease: a minute more to wait`

func newCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Three hosts, one fire, one heir", Long: long, Example: examples,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave everything up to play with, until Ctrl-C")
	cmd.Flags().StringVar(&o.dir, "dir", "", "where programs, data and logs go; it is kept (default: a temporary folder that goes at the end, unless a step fails)")
	cmd.Flags().DurationVar(&o.leaseDuration, "lease-duration", 10*time.Second, "the agents' lease, shortened from its default of 60s to keep the demo short")
	return cmd
}

func run(ctx context.Context, o *options) (err error) {
	start := time.Now()
	s := &story{out: os.Stdout}
	w, err := newWorld(o)
	if err != nil {
		return err
	}
	defer func() {
		w.close(err != nil && !errors.Is(err, context.Canceled))
	}()
	if err := s.play(ctx, w.steps()); err != nil {
		return err
	}
	fmt.Printf("\nthe story is told: %d steps as expected, in %s\n", s.number, time.Since(start).Round(time.Second))
	if o.keep {
		w.invite(os.Stdout)
		<-ctx.Done()
	}
	return nil
}

// asRootOfANamespace runs this program again as root of a user namespace of its
// own, with mounts of its own.
func asRootOfANamespace() int {
	fmt.Println("not root: going on in a user namespace")
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	// The one inside cleans up; this one only passes on and waits.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// Started through a spawner, it dies with this process, however that ends.
	spawner, err := processes.NewSpawner()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	defer spawner.Close()
	if err := spawner.Start(cmd); err != nil {
		fmt.Fprintf(os.Stderr, "error: no user namespace can be made here (%v): run the demo as root\n", err)
		return 1
	}
	go func() {
		for sig := range signals {
			_ = cmd.Process.Signal(sig)
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}
