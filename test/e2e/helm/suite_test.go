// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package helm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

const (
	source    = "../../../"
	chart     = source + "charts/selvage"
	namespace = "selvage-system"
)

// tools are built from hack/tools, where they are pinned.
var tools = filepath.Join(source, "bin/tools")

func TestMain(m *testing.M) {
	if err := buildTools(); err != nil {
		fmt.Fprintln(os.Stderr, "test/e2e/helm:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func buildTools() error {
	dir, err := filepath.Abs(tools)
	if err != nil {
		return err
	}
	build := exec.Command("make", "--no-print-directory", "-C", source, dir+"/helm", dir+"/kustomize")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building helm and kustomize: %w\n%s", err, out)
	}
	return nil
}

// helm runs the real one, and returns what it prints. What it keeps between
// runs is in a folder of the test's own.
func helm(ctx context.Context, t *testing.T, args ...string) (string, error) {
	t.Helper()
	return run(ctx, t, filepath.Join(tools, "helm"), nil, args...)
}

func run(ctx context.Context, t *testing.T, program string, environment []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, program, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	cmd.Env = append(cmd.Env, environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// render is helm template, for a release as docs/install.md makes it.
func render(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t.Context(), t, append([]string{"template", "selvage", chart, "--namespace", namespace}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kustomize renders a folder of config/.
func kustomize(t *testing.T, dir string) string {
	t.Helper()
	out, err := run(t.Context(), t, filepath.Join(tools, "kustomize"), nil, "build", source+"config/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
