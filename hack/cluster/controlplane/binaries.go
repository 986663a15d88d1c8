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

	"github.com/gofrs/flock"
)

// What is booted. hack/cluster/binaries pins the same versions.
const (
	KubernetesVersion = "v1.37.2"
	EtcdVersion       = "v3.7.3"
)

// Paths are the programs of a control plane.
type Paths struct {
	Etcd              string
	APIServer         string
	ControllerManager string
	Kubectl           string
}

// program is one of them: where it is kept, how it names its version, and how
// it is built.
type program struct {
	name    string
	module  string // folder below hack/cluster/binaries
	version string
	pkg     string
	ask     []string // arguments that make it print its version
	says    string   // what it then prints
	took    string   // how long a build usually takes on two cores
	path    func(*Paths) *string
}

func programs() []program {
	kubernetes := func(name, took string, ask []string, says string, path func(*Paths) *string) program {
		return program{name: name, module: "kubernetes", version: KubernetesVersion,
			pkg: "k8s.io/kubernetes/cmd/" + name, ask: ask, says: says, took: took, path: path}
	}
	version := []string{"--version"}
	return []program{
		{name: "etcd", module: "etcd", version: EtcdVersion, pkg: "go.etcd.io/etcd/server/v3",
			ask: version, says: "etcd Version: " + strings.TrimPrefix(EtcdVersion, "v"), took: "half a minute",
			path: func(p *Paths) *string { return &p.Etcd }},
		kubernetes("kube-apiserver", "4 to 7 minutes", version, "Kubernetes "+KubernetesVersion,
			func(p *Paths) *string { return &p.APIServer }),
		kubernetes("kube-controller-manager", "1 minute", version, "Kubernetes "+KubernetesVersion,
			func(p *Paths) *string { return &p.ControllerManager }),
		kubernetes("kubectl", "1 minute", []string{"version", "--client"}, "Client Version: "+KubernetesVersion,
			func(p *Paths) *string { return &p.Kubectl }),
	}
}

// Binaries finds each program: in KUBEBUILDER_ASSETS, else in the cache, else
// by setup-envtest where that can download, else it is built from its Go
// module. What it does is written to out.
func Binaries(ctx context.Context, out io.Writer) (Paths, error) {
	f := &finder{out: out, assets: os.Getenv("KUBEBUILDER_ASSETS")}
	cache, err := CacheDir()
	if err != nil {
		return Paths{}, err
	}
	f.cache = cache
	var paths Paths
	for _, p := range programs() {
		path, err := f.find(ctx, p)
		if err != nil {
			return Paths{}, err
		}
		*p.path(&paths) = path
	}
	return paths, nil
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
	out      io.Writer
	assets   string
	cache    string
	envtest  string // what setup-envtest downloaded
	searched bool   // setup-envtest has been tried
}

func (f *finder) find(ctx context.Context, p program) (string, error) {
	if path := filepath.Join(f.assets, p.name); f.assets != "" && isProgram(path) {
		// The user's own choice is used as it is, but not in silence.
		if err := checkVersion(ctx, p, path); err != nil {
			fmt.Fprintf(f.out, "KUBEBUILDER_ASSETS: %v; it is used all the same\n", err)
		}
		return path, nil
	}
	dir := filepath.Join(f.cache, p.module+"-"+p.version)
	path := filepath.Join(dir, p.name)
	if isProgram(path) && checkVersion(ctx, p, path) == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache of programs: %w", err)
	}
	// One builder at a time: the second finds what the first has built.
	lock := flock.New(path + ".lock")
	if err := lock.Lock(); err != nil {
		return "", fmt.Errorf("locking %s: %w", lock.Path(), err)
	}
	defer lock.Unlock() //nolint:errcheck // closing the file unlocks it
	if isProgram(path) && checkVersion(ctx, p, path) == nil {
		return path, nil
	}
	if found := f.download(ctx, p); found != "" {
		return found, nil
	}
	return path, build(ctx, f.out, p, path)
}

// download asks setup-envtest, once. Anything that goes wrong is told, and the
// programs are built instead.
func (f *finder) download(ctx context.Context, p program) string {
	if !f.searched {
		f.searched = true
		dir, err := setupEnvtest(ctx, f.out, filepath.Dir(f.cache))
		if err != nil {
			fmt.Fprintf(f.out, "setup-envtest cannot download here (%v): building from Go modules instead\n", err)
		}
		f.envtest = dir
	}
	path := filepath.Join(f.envtest, p.name)
	if f.envtest == "" || !isProgram(path) {
		return ""
	}
	if err := checkVersion(ctx, p, path); err != nil && p.name != "etcd" {
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
	first, _, _ := strings.Cut(string(said), "\n")
	if first != p.says {
		return fmt.Errorf("%s says %q, not %q", path, first, p.says)
	}
	return nil
}
