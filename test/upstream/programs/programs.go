// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package programs builds, once, what the upstream tests are made of: their
// test binary, what runs it, the programs of their images, and a DNS server.
package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

// Paths are the programs.
type Paths struct {
	// Tests is Kubernetes' end-to-end test binary, unchanged, and Ginkgo what
	// runs it in several processes.
	Tests, Ginkgo string
	// Agnhost and InvalidConntrack are the programs of test images.
	Agnhost, InvalidConntrack string
	// Certificate and Key are what Agnhost serves TLS with: upstream's, which
	// nobody trusts.
	Certificate, Key string
	// Pause is what pods hold on to: hack/cluster's own.
	Pause string
	// CoreDNS is the cluster's DNS server.
	CoreDNS string
}

// CoreDNSVersion is what binaries/coredns pins; a test compares.
const CoreDNSVersion = "v1.15.0"

const kubernetesModule = "test/upstream/binaries/kubernetes"

// program is one of them, and how it is built.
type program struct {
	path *string
	name string
	// dir is the module's folder in the source tree, version what it pins.
	dir, version string
	pkg          string
	test         bool // go test -c
	took         string
}

func (p *Paths) all() []program {
	kubernetes := func(path *string, name, pkg, took string) program {
		return program{path: path, name: name, dir: kubernetesModule, version: controlplane.KubernetesVersion, pkg: pkg, took: took}
	}
	tests := kubernetes(&p.Tests, "e2e.test", "k8s.io/kubernetes/test/e2e", "3 to 12 minutes of two cores")
	tests.test = true
	return []program{
		tests,
		kubernetes(&p.Ginkgo, "ginkgo", "github.com/onsi/ginkgo/v2/ginkgo", "10 s"),
		kubernetes(&p.Agnhost, "agnhost", "k8s.io/kubernetes/test/images/agnhost", "10 s, or 4 minutes if it is the first"),
		kubernetes(&p.InvalidConntrack, "regression-issue-74839", "k8s.io/kubernetes/test/images/regression-issue-74839", "5 s"),
		{path: &p.CoreDNS, name: "coredns", dir: "test/upstream/binaries/coredns", version: CoreDNSVersion, pkg: "github.com/coredns/coredns", took: "2 to 4 minutes"},
	}
}

// Find returns the programs: from the cache, else built. What it builds, it
// says to out.
func Find(ctx context.Context, out io.Writer) (Paths, error) {
	paths := Paths{}
	cache, err := controlplane.CacheDir()
	if err != nil {
		return paths, err
	}
	source, err := controlplane.SourceDir()
	if err != nil {
		return paths, err
	}
	for _, p := range paths.all() {
		*p.path = filepath.Join(cache, "upstream-"+filepath.Base(p.dir)+"-"+p.version, p.name)
		if err := p.find(ctx, out, source); err != nil {
			return paths, err
		}
	}
	if err := paths.findCertificate(ctx, source); err != nil {
		return paths, err
	}
	return paths, paths.buildPause(ctx, cache, source)
}

func (p program) find(ctx context.Context, out io.Writer, source string) (err error) {
	if err := os.MkdirAll(filepath.Dir(*p.path), 0o755); err != nil {
		return fmt.Errorf("making the cache of programs: %w", err)
	}
	// One builder at a time: the second finds what the first has built.
	lock := flock.New(*p.path + ".lock")
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("locking %s: %w", lock.Path(), err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if _, err := os.Stat(*p.path); err == nil {
		return nil
	}
	fmt.Fprintf(out, "building %s %s from %s (usually %s; once, then it is kept in %s) …\n", p.name, p.version, p.pkg, p.took, filepath.Dir(*p.path))
	start := time.Now()
	if err := p.build(ctx, filepath.Join(source, p.dir)); err != nil {
		return err
	}
	fmt.Fprintf(out, "built %s in %s\n", p.name, time.Since(start).Round(time.Second))
	return nil
}

// build makes the program in a temporary file, which is renamed when it is whole.
func (p program) build(ctx context.Context, module string) error {
	temporary, err := os.MkdirTemp(filepath.Dir(*p.path), ".build-")
	if err != nil {
		return fmt.Errorf("building %s: %w", p.name, err)
	}
	defer os.RemoveAll(temporary)
	built := filepath.Join(temporary, p.name)
	if err := goBuild(ctx, module, p.arguments(built)...); err != nil {
		return fmt.Errorf("building %s in %s: %w", p.name, module, err)
	}
	if err := os.Rename(built, *p.path); err != nil {
		return fmt.Errorf("keeping %s: %w", p.name, err)
	}
	return nil
}

func (p program) arguments(built string) []string {
	flags := []string{"-s", "-w"}
	if strings.HasPrefix(p.pkg, "k8s.io/") {
		// Without it the tests call themselves v0.0.0.
		parts := strings.SplitN(strings.TrimPrefix(p.version, "v"), ".", 3)
		for _, set := range []string{"gitVersion=" + p.version, "gitMajor=" + parts[0], "gitMinor=" + parts[1]} {
			flags = append(flags, "-X", "k8s.io/component-base/version."+set)
		}
	}
	verb := []string{"build"}
	if p.test {
		verb = []string{"test", "-c", "-vet=off"}
	}
	return append(verb, "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", strings.Join(flags, " "), "-o", built, p.pkg)
}

func (p *Paths) findCertificate(ctx context.Context, source string) error {
	list := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-f", "{{.Dir}}", "k8s.io/kubernetes/test/images/agnhost/porter")
	list.Dir, list.Env = filepath.Join(source, kubernetesModule), append(os.Environ(), "GOWORK=off")
	dir, err := list.Output()
	if err != nil {
		return fmt.Errorf("finding the sources of agnhost: %w", err)
	}
	p.Certificate = filepath.Join(strings.TrimSpace(string(dir)), "localhost.crt")
	p.Key = filepath.Join(strings.TrimSpace(string(dir)), "localhost.key")
	return nil
}

func (p *Paths) buildPause(ctx context.Context, cache, source string) error {
	p.Pause = filepath.Join(cache, "upstream-kubernetes-"+controlplane.KubernetesVersion, "pause")
	return goBuild(ctx, source, "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", p.Pause, "./hack/cluster/nodes/pause")
}

func goBuild(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}
