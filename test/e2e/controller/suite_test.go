// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

const (
	configDir = "../../../config"
	namespace = "selvage-system"
)

// plane is the control plane of all tests, which run one after the other and
// leave nothing behind.
var plane *controlplane.ControlPlane

var verbose = flag.Bool("controller-logs", false, "print what the controllers log")

func TestMain(m *testing.M) {
	flag.Parse()
	code := run(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "the controllers that ran here left goroutines behind:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	logger := logr.Discard()
	if *verbose {
		logger = zap.New(zap.UseDevMode(true), func(o *zap.Options) { o.TimeEncoder = zapcore.ISO8601TimeEncoder })
	}
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cp, err := controlplane.Start(ctx, controlplane.Options{Out: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the control plane:", err)
		return 1
	}
	defer cp.Stop()
	if err := cp.Install(ctx, configDir+"/default"); err != nil {
		fmt.Fprintln(os.Stderr, "installing Selvage:", err)
		return 1
	}
	plane = cp
	return m.Run()
}
