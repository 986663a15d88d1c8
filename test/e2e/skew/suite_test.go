// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package skew

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// The two versions.
var old, current *version

func TestMain(m *testing.M) {
	code := suite(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "test/e2e/skew: goroutines were left behind:", err)
		code = 1
	}
	os.Exit(code)
}

func suite(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/e2e/skew: NOT RUN: network namespaces need root")
		return 1
	}
	log.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "selvage-skew-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/e2e/skew:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if old, current, err = find(ctx, dir); err != nil {
		return missing(err)
	}
	return m.Run()
}

// missing says that nothing is tested, and whether that is a failure.
func missing(err error) int {
	if !errors.Is(err, errNoHistory) {
		fmt.Fprintln(os.Stderr, "test/e2e/skew:", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, `********************************************************************************
test/e2e/skew: NOT RUN: THE VERSION SKEW IS NOT TESTED.
%v, so that the version before cannot be built.
Get the whole history: git fetch --unshallow
SELVAGE_HISTORY=required makes this a failure.
********************************************************************************
`, err)
	if os.Getenv("SELVAGE_HISTORY") == "required" {
		return 1
	}
	return 0
}
