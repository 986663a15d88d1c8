// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package programs builds, once, what the upstream tests are made of: their
// test binary, what runs it, the programs of their images, and a DNS server.
package programs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

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

// program is one of them, and where it is kept.
type program struct {
	controlplane.Build
	path *string
}

func (p *Paths) all() []program {
	kubernetes := func(path *string, name, pkg, took string) program {
		return program{path: path, Build: controlplane.Build{Name: name, Module: kubernetesModule, Version: controlplane.KubernetesVersion, Package: pkg, Took: took}}
	}
	tests := kubernetes(&p.Tests, "e2e.test", "k8s.io/kubernetes/test/e2e", "3 to 12 minutes of two cores")
	tests.Test = true
	coreDNS := controlplane.Build{
		Name: "coredns", Module: "test/upstream/binaries/coredns", Version: CoreDNSVersion, Package: "github.com/coredns/coredns", Took: "2 to 4 minutes",
	}
	return []program{
		tests,
		kubernetes(&p.Ginkgo, "ginkgo", "github.com/onsi/ginkgo/v2/ginkgo", "10 s"),
		kubernetes(&p.Agnhost, "agnhost", "k8s.io/kubernetes/test/images/agnhost", "10 s, or 4 minutes if it is the first"),
		kubernetes(&p.InvalidConntrack, "regression-issue-74839", "k8s.io/kubernetes/test/images/regression-issue-74839", "5 s"),
		{path: &p.CoreDNS, Build: coreDNS},
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
		*p.path = filepath.Join(cache, "upstream-"+filepath.Base(p.Module)+"-"+p.Version, p.Name)
		if err := p.Keep(ctx, out, *p.path); err != nil {
			return paths, err
		}
	}
	if err := paths.findCertificate(ctx, source); err != nil {
		return paths, err
	}
	return paths, paths.buildPause(ctx, cache, source)
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
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", p.Pause, "./hack/cluster/nodes/pause")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the pause program: %w\n%s", err, said)
	}
	return nil
}
