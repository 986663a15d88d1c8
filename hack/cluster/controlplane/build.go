// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	setupEnvtestModule = "sigs.k8s.io/controller-runtime/tools/setup-envtest@v0.25.1"
	// setup-envtest reads its index of downloads from here.
	setupEnvtestIndex = "raw.githubusercontent.com:443"
)

// setupEnvtest downloads the programs with setup-envtest and returns their
// folder. Where its index cannot be reached it gives up within seconds.
func setupEnvtest(ctx context.Context, out io.Writer, dir string) (string, error) {
	dial, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(dial, "tcp", setupEnvtestIndex)
	if err != nil {
		return "", err
	}
	conn.Close()

	fmt.Fprintf(out, "downloading the control plane's programs with setup-envtest (usually half a minute) …\n")
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", setupEnvtestModule, "use",
		strings.TrimPrefix(KubernetesVersion, "v"), "-p", "path", "--bin-dir", filepath.Join(dir, "envtest"))
	cmd.Dir = os.TempDir() // outside any module
	said, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, lastLine(stderr.String()))
	}
	return strings.TrimSpace(said.String()), nil
}

// build makes one program from its Go module, into a temporary file that is
// renamed when it is whole.
func build(ctx context.Context, out io.Writer, p program, path string) error {
	root, err := SourceDir()
	if err != nil {
		return fmt.Errorf("building %s: %w", p.name, err)
	}
	fmt.Fprintf(out, "building %s %s from %s (usually %s; once, then it is kept in %s) …\n",
		p.name, p.version, p.pkg, p.took, filepath.Dir(path))
	start := time.Now()
	temporary, err := os.MkdirTemp(filepath.Dir(path), ".build-")
	if err != nil {
		return fmt.Errorf("building %s: %w", p.name, err)
	}
	defer os.RemoveAll(temporary)
	built := filepath.Join(temporary, p.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath",
		"-tags", p.tags, "-ldflags", linkFlags(p), "-o", built, p.pkg)
	cmd.Dir = filepath.Join(root, "hack", "cluster", "binaries", p.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s in %s: %w\n%s", p.name, cmd.Dir, err, said)
	}
	if err := checkVersion(ctx, p, built); err != nil {
		return fmt.Errorf("what was just built is not what was wanted: %w", err)
	}
	if err := os.Rename(built, path); err != nil {
		return fmt.Errorf("keeping %s: %w", p.name, err)
	}
	fmt.Fprintf(out, "built %s in %s\n", p.name, time.Since(start).Round(time.Second))
	return nil
}

// linkFlags give programs their version: without it clients reject Kubernetes'
// version string.
func linkFlags(p program) string {
	flags := []string{"-s", "-w"}
	switch p.module {
	case "kubernetes":
		parts := strings.SplitN(strings.TrimPrefix(p.version, "v"), ".", 3)
		for _, set := range []string{"gitVersion=" + p.version, "gitMajor=" + parts[0], "gitMinor=" + parts[1]} {
			flags = append(flags, "-X", "k8s.io/component-base/version."+set)
		}
	case "containerd":
		flags = append(flags, "-X", "github.com/containerd/containerd/v2/version.Version="+p.version)
	}
	return strings.Join(flags, " ")
}

// SourceDir is the top of Selvage's source tree: above the working directory
// or, failing that, where this file was compiled.
func SourceDir() (string, error) {
	starts := []string{}
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	for _, dir := range starts {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && bytes.HasPrefix(bytes.TrimSpace(data), []byte("module github.com/selvage-net/selvage\n")) {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("the source tree of github.com/selvage-net/selvage is not above %s: run this inside it", strings.Join(starts, " or "))
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
