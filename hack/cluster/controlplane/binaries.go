// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package controlplane boots a real etcd and a real kube-apiserver, for demos
// and tests: on free ports of the loopback, with RBAC, token requests and
// admission as in a cluster, and nothing left over afterwards.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Binaries finds each program of a control plane: in KUBEBUILDER_ASSETS, else
// in the cache, else by setup-envtest where that can download, else it is built
// from its Go module. What it does is written to out. The environment says
// which Kubernetes: see KubernetesVariable.
func Binaries(ctx context.Context, out io.Writer) (Paths, error) {
	var paths Paths
	k, err := chosenKubernetes()
	if err == nil {
		err = findAll(ctx, out, k, programs(k, &paths))
	}
	return paths, err
}

// NodeBinaries finds what nodes add to a control plane, likewise. No kubelet may
// be newer than its API server, and there are none of the oldest.
func NodeBinaries(ctx context.Context, out io.Writer) (NodePaths, error) {
	var paths NodePaths
	k, err := chosenKubernetes()
	if err == nil && k != newest {
		err = fmt.Errorf("%s: nodes are of Kubernetes %s alone, and no kubelet may be newer than its API server (%s)", KubernetesVariable, newest.version, k.version)
	}
	if err == nil {
		err = findAll(ctx, out, k, nodePrograms(&paths))
	}
	return paths, err
}

func findAll(ctx context.Context, out io.Writer, k kubernetesRelease, programs []program) error {
	cache, err := CacheDir()
	if err != nil {
		return err
	}
	f := &finder{out: out, assets: os.Getenv("KUBEBUILDER_ASSETS"), cache: cache, kubernetes: k}
	for _, p := range programs {
		if *p.path, err = f.find(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// CacheDir is where found and built programs are kept, by version:
// $XDG_CACHE_HOME/selvage/bin, or ~/.cache/selvage/bin.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep the control plane's programs in: set HOME or XDG_CACHE_HOME: %w", err)
	}
	return filepath.Join(dir, "selvage", "bin"), nil
}

type finder struct {
	out    io.Writer
	assets string
	cache  string

	kubernetes kubernetesRelease

	envtest  string // what setup-envtest downloaded
	searched bool   // setup-envtest has been tried
}

func (f *finder) find(ctx context.Context, p program) (string, error) {
	if path := filepath.Join(f.assets, p.Name); f.assets != "" && isProgram(path) {
		// The user's own choice is used as it is, but not in silence.
		if err := checkVersion(ctx, p, path); err != nil {
			fmt.Fprintf(f.out, "KUBEBUILDER_ASSETS: %v; it is used all the same\n", err)
		}
		return path, nil
	}
	path := filepath.Join(f.cache, filepath.Base(p.Module)+"-"+p.Version, p.Name)
	good := func(path string) error { return checkVersion(ctx, p, path) }
	if isProgram(path) && good(path) == nil {
		return path, nil
	}
	found := path
	err := once(path, func() error {
		if isProgram(path) && good(path) == nil {
			return nil
		}
		if downloaded := f.download(ctx, p); downloaded != "" {
			found = downloaded
			return nil
		}
		return p.build(ctx, f.out, path, good)
	})
	return found, err
}

// download asks setup-envtest, once. Anything that goes wrong is told, and the
// programs are built instead.
func (f *finder) download(ctx context.Context, p program) string {
	if !p.envtest {
		return ""
	}
	if !f.searched {
		f.searched = true
		dir, err := setupEnvtest(ctx, f.out, filepath.Dir(f.cache), f.kubernetes)
		if err != nil {
			fmt.Fprintf(f.out, "setup-envtest cannot download here (%v): building from Go modules instead\n", err)
		}
		f.envtest = dir
	}
	path := filepath.Join(f.envtest, p.Name)
	if f.envtest == "" || !isProgram(path) {
		return ""
	}
	if err := checkVersion(ctx, p, path); err != nil && p.Name != "etcd" {
		fmt.Fprintf(f.out, "setup-envtest: %v: building it instead\n", err)
		return ""
	}
	return path
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func checkVersion(ctx context.Context, p program, path string) error {
	said, err := exec.CommandContext(ctx, path, p.ask...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("%s does not say its version: %w", path, err)
	}
	for line := range strings.Lines(string(said)) {
		if strings.TrimSpace(line) == p.says {
			return nil
		}
	}
	return fmt.Errorf("%s says %q, not %q", path, strings.TrimSpace(string(said)), p.says)
}
