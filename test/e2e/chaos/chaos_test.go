// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// The whole notices: a machine that runs is declared off, and the fence of all
// others is torn down. With the fence up nobody would hear it, and this test
// would fail.
func TestChaos_NoticesATornFence(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: machines are network namespaces, which takes root")
	}
	log.SetLogger(logr.Discard())
	o := &options{minutes: 0.75, seed: 3, dir: t.TempDir(), hosts: 4, lease: 5 * time.Second, sabotage: true}
	var out bytes.Buffer
	err := o.run(t.Context(), &out)
	if !errors.Is(err, errViolation) || !strings.Contains(out.String(), "OneHolder: no register could have the history of") {
		t.Errorf("it did not notice: %v\n%s", err, out.String())
	}
}
