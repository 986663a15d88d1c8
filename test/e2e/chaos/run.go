// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/chaos/chronicle"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

const (
	poolCIDR = "10.99.0.0/23"
	// podsEach is how many pods a machine runs: with so few addresses they are
	// soon given again.
	podsEach = 4
	// settling bounds how long it may take from the last fault to rest.
	settling = 3 * time.Minute
)

// run is one run.
type run struct {
	*options
	*world.World
	out       io.Writer
	chronicle *chronicle.Chronicle
	counts    counts

	mu   sync.Mutex
	busy map[string]bool // machines that an operator is at

	broken chan error // what makes going on pointless
}

func (o *options) run(ctx context.Context, out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("machines are network namespaces, which takes root: sudo make chaos")
	}
	if o.hosts < 4 {
		return fmt.Errorf("--hosts=%d: at least 4, so that some are left when others are removed", o.hosts)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1 << 32)
	}
	r := &run{options: o, out: out, busy: map[string]bool{}, broken: make(chan error, 1)}
	if err := r.make(ctx); err != nil {
		return err
	}
	defer r.Close()
	return r.play(ctx)
}

// make makes the world and has the chronicle follow it.
func (r *run) make(ctx context.Context) error {
	source, err := controlplane.SourceDir()
	if err != nil {
		return err
	}
	if r.dir == "" {
		r.dir = filepath.Join(source, "bin", "artifacts", fmt.Sprintf("chaos-%d", r.seed))
	}
	if r.dir, err = filepath.Abs(r.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("clearing %s: %w", r.dir, err)
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", r.dir, err)
	}
	fmt.Fprintf(r.out, "seed %d, %g minutes, %d machines; kept in %s\n", r.seed, r.minutes, r.hosts, r.dir)
	if err := r.programs(ctx, source); err != nil {
		return err
	}
	r.World, err = world.New(ctx, world.Options{Dir: r.dir, Bin: r.bin, Source: source, Lease: r.lease, Begin: time.Now(), Out: r.out})
	return err
}

func (r *run) programs(ctx context.Context, source string) error {
	if r.bin != "" {
		var err error
		r.bin, err = filepath.Abs(r.bin)
		return err
	}
	r.bin = filepath.Join(r.dir, "bin")
	fmt.Fprintln(r.out, "building Selvage's programs")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", r.bin+"/",
		"./cmd/selvage-controller", "./cmd/selvage-agent", "./cmd/selvage", "./cmd/kubectl-selvage")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building Selvage: %w\n%s", err, out)
	}
	return nil
}

// play breaks things for the time that was asked for, lets them come to rest,
// and judges.
func (r *run) play(ctx context.Context) error {
	archive, err := chronicle.NewArchive(filepath.Join(r.dir, "changes.json.gz"))
	if err != nil {
		return err
	}
	defer archive.Close()
	if r.chronicle, err = chronicle.Open(ctx, r.Plane.EtcdURL(), world.Namespace, r.Now, archive); err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait()
	defer stop()
	follower.Go(func() {
		if err := r.chronicle.Follow(following); err != nil && following.Err() == nil {
			r.broken <- err
		}
	})
	if err := r.populate(ctx); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%d machines serve after %s; from now on things break\n", r.hosts, r.Now().Round(time.Second))
	began := r.Now()
	err = r.breakThings(ctx)
	r.counts.took = r.Now() - began
	if err == nil {
		err = r.rest(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.conclude(ctx, err)
}

// populate makes pool, controllers, machines and pods.
func (r *run) populate(ctx context.Context) error {
	first, largest := int32(28), int32(27)
	pool := &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v1alpha1.AddressPoolSpec{CIDR: poolCIDR, RangePrefixLength: &first, MaxRangePrefixLength: &largest}}
	if err := r.Admin.Create(ctx, pool); err != nil {
		return fmt.Errorf("making the pool: %w", err)
	}
	for range 2 {
		c, err := r.NewController(ctx)
		if err != nil {
			return err
		}
		if err := c.Start(true); err != nil {
			return err
		}
	}
	for i := range r.hosts {
		m, err := r.NewMachine(ctx)
		if err != nil {
			return err
		}
		m.Up()
		m.RunPods(podsEach, r.seed+uint64(i))
	}
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	return r.awaitServing(ctx)
}

// awaitServing waits until every machine is in the network.
func (r *run) awaitServing(ctx context.Context) error {
	var lacking string
	err := r.chronicle.Await(ctx, func(v chronicle.View) bool {
		for _, m := range r.Machines {
			if !v.Active(m.Name) || !v.Reachable(m.Name) {
				lacking = m.Name
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("%s does not get into the network: %w", lacking, err)
	}
	return nil
}

// breakThings runs everybody who does something until the time is over.
func (r *run) breakThings(ctx context.Context) error {
	whole, cancel := context.WithTimeout(ctx, time.Duration(r.minutes*float64(time.Minute)))
	defer cancel()
	var all sync.WaitGroup
	stream := uint64(0)
	start := func(do func(context.Context, *rand.Rand)) {
		stream++
		rng := rand.New(rand.NewPCG(r.seed, stream))
		all.Go(func() { do(whole, rng) })
	}
	start(r.askAround)
	start(r.tellProgress)
	if r.sabotage {
		start(r.tearDown)
	} else {
		start(r.inflict)
		start(r.elect)
		for range operators {
			start(r.operate)
		}
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	select {
	case err := <-r.broken:
		cancel()
		<-over
		return err
	case <-over:
		return nil
	}
}

// askInterval is how often some pod asks some address who is there.
const askInterval = 25 * time.Millisecond

func (r *run) askAround(ctx context.Context, rng *rand.Rand) {
	every(ctx, askInterval, func() { r.Machines[rng.IntN(len(r.Machines))].Ask(rng) })
}

func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// wait waits that long, and says whether there is still time.
func wait(ctx context.Context, long time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(long):
		return true
	}
}

// between is a random time.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}
