// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/hosts"
)

const (
	namespace = "selvage-system"
	// leaseSeconds is short, so that tests can sit it out.
	leaseSeconds = 5
	leaseTime    = leaseSeconds * time.Second
)

// What all tests share.
var (
	plane *controlplane.ControlPlane
	// network is the switch that the machines are on.
	network *hosts.Net
	// admin may do everything (and breaks glass), hand is the controller's.
	admin, hand client.Client
	programs    string
)

func TestMain(m *testing.M) {
	code := suite(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "test/e2e/agent: goroutines were left behind:", err)
		code = 1
	}
	os.Exit(code)
}

func suite(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/e2e/agent: NOT RUN: network namespaces need root (or: unshare -rmnpf --mount-proc go test ./test/e2e/agent)")
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	defer tearDown()
	if err := setUp(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "test/e2e/agent:", err)
		return 1
	}
	return m.Run()
}

func setUp(ctx context.Context) (err error) {
	log.SetLogger(logr.Discard())
	if programs, err = os.MkdirTemp("", "selvage-agent-e2e"); err != nil {
		return err
	}
	for _, name := range []string{"selvage-agent", "selvage"} {
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(programs, name), "../../../cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if name == "selvage-agent" && os.Getenv("SELVAGE_RACE") != "" {
			build.Args = slices.Insert(build.Args, 2, "-race")
			build.Env = append(os.Environ(), "CGO_ENABLED=1")
		}
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	if plane, err = controlplane.Start(ctx, controlplane.Options{Out: os.Stderr}); err != nil {
		return err
	}
	if err := plane.Install(ctx, "../../../config/default"); err != nil {
		return err
	}
	if network, err = hosts.New(ctx, fmt.Sprintf("sva%d-", os.Getpid()%1000), netip.Prefix{}); err != nil {
		return err
	}
	if admin, err = clientFor(plane.Config); err != nil {
		return err
	}
	_, config, err := plane.KubeconfigFor(ctx, namespace, "selvage-controller", nil)
	if err != nil {
		return err
	}
	hand, err = clientFor(config)
	return err
}

func clientFor(config *rest.Config) (client.Client, error) {
	kinds := runtime.NewScheme()
	if err := scheme.AddToScheme(kinds); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(kinds); err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	return client.New(config, client.Options{Scheme: kinds})
}

func tearDown() {
	if network != nil {
		network.Close()
	}
	if plane != nil {
		plane.Stop()
	}
	if programs != "" {
		_ = os.RemoveAll(programs)
	}
}
