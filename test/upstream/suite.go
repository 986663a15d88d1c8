// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/selvage-net/selvage/test/upstream/programs"
	"github.com/selvage-net/selvage/test/upstream/verdict"
)

// The reports, in options.dir.
const (
	jsonReport  = "report.json"
	junitReport = "junit.xml"
)

// suiteLimit is several times what the tests usually take.
const suiteLimit = 4 * time.Hour

// suite is the upstream test binary, run by Ginkgo.
type suite struct {
	programs   programs.Paths
	kubeconfig string
	kubectl    string
	dir        string
	nodes      int
	out        io.Writer
}

// run runs what focus chooses and skip does not leave out, and returns all
// specs about the network. Failed specs are no error.
func (s *suite) run(ctx context.Context, focus, skip string, procs int) ([]verdict.Spec, error) {
	report := filepath.Join(s.dir, jsonReport)
	if err := os.RemoveAll(report); err != nil {
		return nil, fmt.Errorf("removing an earlier report: %w", err)
	}
	cmd := exec.CommandContext(ctx, s.programs.Ginkgo, s.arguments(focus, skip, procs)...)
	cmd.Dir = s.dir // Ginkgo leaves files where it runs
	cmd.Stdout, cmd.Stderr = s.out, s.out
	// Ended as a person would, it cleans up behind itself.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	runErr := cmd.Run()
	data, err := os.ReadFile(report)
	if err != nil {
		return nil, fmt.Errorf("the tests left no report: %w", errors.Join(runErr, err))
	}
	return verdict.Read(data)
}

func (s *suite) arguments(focus, skip string, procs int) []string {
	args := []string{
		"run", "--procs=" + strconv.Itoa(procs), "--timeout=" + suiteLimit.String(), "--no-color", "--silence-skips", "--keep-going",
		"--output-dir=" + s.dir, "--json-report=" + jsonReport, "--junit-report=" + junitReport,
		// Ginkgo runs what matches any focus: both conditions in one.
		"--focus=" + subjectPattern + focus,
	}
	if skip != "" {
		args = append(args, "--skip="+skip)
	}
	return append(args, s.programs.Tests, "--",
		"--kubeconfig="+s.kubeconfig, "--kubectl-path="+s.kubectl, "--provider=skeleton", "--num-nodes="+strconv.Itoa(s.nodes),
		// One directory for what the tests write besides reports.
		"--report-dir="+filepath.Join(s.dir, "artifacts"),
	)
}

// subjectPattern is verdict.Subject, as a regular expression, wherever it is.
const subjectPattern = `\[sig-network\].*`
