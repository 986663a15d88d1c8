// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

const (
	leaseTime = 5 * time.Second
)

// What all tests share.
var (
	// cluster is a control plane, a controller, and three machines.
	cluster *world.World
	// host1 and host2 stay in the network, host3 goes and comes back.
	host1, host2, host3 *world.Machine
	// page is docs/gitops.md.
	page examples
	// seen are all versions of Selvage's objects that the API server told of.
	seen *recorder
)

func TestMain(m *testing.M) {
	code := suite(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "test/e2e/gitops: goroutines were left behind:", err)
		code = 1
	}
	os.Exit(code)
}

func suite(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/e2e/gitops: NOT RUN: machines are network namespaces, which takes root")
		return 1
	}
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "selvage-gitops-")
	if err == nil {
		err = setUp(ctx, dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, "test/e2e/gitops:", err)
	}
	if seen != nil {
		seen.stop()
	}
	if cluster != nil {
		cluster.Close()
	}
	if code != 0 {
		fmt.Fprintln(os.Stderr, "test/e2e/gitops: the logs are kept in", dir)
		return code
	}
	_ = os.RemoveAll(dir)
	return 0
}

func setUp(ctx context.Context, dir string) error {
	source, err := controlplane.SourceDir()
	if err != nil {
		return err
	}
	if page, err = readExamples(filepath.Join(source, "docs/gitops.md")); err != nil {
		return err
	}
	bin := filepath.Join(dir, "bin")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin+"/",
		"./cmd/selvage-controller", "./cmd/selvage-agent", "./cmd/selvage", "./cmd/kubectl-selvage")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building Selvage: %w\n%s", err, out)
	}
	cluster, err = world.New(ctx, world.Options{Dir: dir, Bin: bin, Source: source, Lease: leaseTime, Begin: time.Now(), Out: os.Stderr})
	if err != nil {
		return err
	}
	if seen, err = record(cluster.Plane.Config); err != nil {
		return err
	}
	return errors.Join(populate(ctx))
}

// populate declares the page's pool, and has three machines join.
func populate(ctx context.Context) error {
	if err := kubectlApply(ctx, page["flux/rights.yaml"]); err != nil {
		return err
	}
	if err := kubectlApply(ctx, page["network/pool.yaml"]); err != nil {
		return err
	}
	controller, err := cluster.NewController(ctx)
	if err != nil {
		return err
	}
	if err := controller.Start(true); err != nil {
		return err
	}
	for _, m := range []**world.Machine{&host1, &host2, &host3} {
		if *m, err = cluster.NewMachine(ctx); err != nil {
			return err
		}
		(*m).Up()
	}
	return nil
}
