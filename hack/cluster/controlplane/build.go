// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	setupEnvtestModule = "sigs.k8s.io/controller-runtime/tools/setup-envtest@v0.25.1"
	// setup-envtest reads its index of downloads from here.
	setupEnvtestIndex = "raw.githubusercontent.com:443"
)

// setupEnvtest downloads the programs with setup-envtest and returns their
// folder. Where its index cannot be reached it gives up within seconds.
func setupEnvtest(ctx context.Context, out io.Writer, dir string, k kubernetesRelease) (string, error) {
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
		strings.TrimPrefix(k.version, "v"), "-p", "path", "--bin-dir", filepath.Join(dir, "envtest"))
	cmd.Dir = os.TempDir() // outside any module
	said, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, lastLine(stderr.String()))
	}
	return strings.TrimSpace(said.String()), nil
}

// Build is a program, and how it is built from the Go module that pins it.
type Build struct {
	Name, Version, Package string
	// Module is the module's folder below the source tree.
	Module string
	Tags   string
	// Test: what is built are the package's tests, as one program.
	Test bool
	// Took is how long it usually takes on two cores.
	Took string
}

// Keep builds the program, unless it is there already. What it does is written
// to out.
func (b Build) Keep(ctx context.Context, out io.Writer, path string) error {
	return once(path, func() error {
		if isProgram(path) {
			return nil
		}
		return b.build(ctx, out, path, func(string) error { return nil })
	})
}

// once makes the program's folder, and calls make while no other process makes
// the same program: the second finds what the first has made.
func once(path string, make func() error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the cache of programs: %w", err)
	}
	lock := flock.New(path + ".lock")
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("locking %s: %w", lock.Path(), err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return make()
}

// build makes the program in a temporary file, which is renamed when it is
// whole and found good.
func (b Build) build(ctx context.Context, out io.Writer, path string, check func(built string) error) error {
	root, err := SourceDir()
	if err != nil {
		return fmt.Errorf("building %s: %w", b.Name, err)
	}
	fmt.Fprintf(out, "building %s %s from %s (usually %s; once, then it is kept in %s) …\n",
		b.Name, b.Version, b.Package, b.Took, filepath.Dir(path))
	start := time.Now()
	temporary, err := os.MkdirTemp(filepath.Dir(path), ".build-")
	if err != nil {
		return fmt.Errorf("building %s: %w", b.Name, err)
	}
	defer os.RemoveAll(temporary)
	built := filepath.Join(temporary, b.Name)
	cmd := exec.CommandContext(ctx, "go", b.arguments(built)...)
	cmd.Dir = filepath.Join(root, b.Module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s in %s: %w\n%s", b.Name, cmd.Dir, err, said)
	}
	if err := check(built); err != nil {
		return fmt.Errorf("what was just built is not what was wanted: %w", err)
	}
	if err := os.Rename(built, path); err != nil {
		return fmt.Errorf("keeping %s: %w", b.Name, err)
	}
	fmt.Fprintf(out, "built %s in %s\n", b.Name, time.Since(start).Round(time.Second))
	return nil
}

func (b Build) arguments(built string) []string {
	verb := []string{"build"}
	if b.Test {
		verb = []string{"test", "-c", "-vet=off"}
	}
	return append(verb, "-mod=readonly", "-buildvcs=false", "-trimpath",
		"-tags", b.Tags, "-ldflags", b.linkFlags(), "-o", built, b.Package)
}

// linkFlags give programs their version: without it clients reject Kubernetes'
// version string, and its tests call themselves v0.0.0.
func (b Build) linkFlags() string {
	flags := []string{"-s", "-w"}
	switch filepath.Base(b.Module) {
	case "kubernetes", "kubernetes-oldest":
		parts := strings.SplitN(strings.TrimPrefix(b.Version, "v"), ".", 3)
		for _, set := range []string{"gitVersion=" + b.Version, "gitMajor=" + parts[0], "gitMinor=" + parts[1]} {
			flags = append(flags, "-X", "k8s.io/component-base/version."+set)
		}
	case "containerd":
		flags = append(flags, "-X", "github.com/containerd/containerd/v2/version.Version="+b.Version)
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
