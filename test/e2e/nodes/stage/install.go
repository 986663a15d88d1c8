// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/selvage-net/selvage/hack/images/oci"
)

// Workload is the image that the pods of the tests run.
const Workload = "localhost/selvage-workload:dev"

// buildImages builds Selvage's images, that of the tests' pods, and
// kubectl-selvage.
func (s *Stage) buildImages(ctx context.Context) ([]string, error) {
	fmt.Fprintln(s.options.Out, "building the images")
	source, err := filepath.Abs(s.options.Source)
	if err != nil {
		return nil, err
	}
	s.options.Source = source
	out := filepath.Join(s.work, "images")
	for _, args := range [][]string{
		{"run", "./hack/images", "--architectures", runtime.GOARCH, "--out", out},
		{"build", "-trimpath", "-o", s.work, "./cmd/kubectl-selvage", "./test/e2e/nodes/workload"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
		if _, err := run(cmd); err != nil {
			return nil, err
		}
	}
	workload := filepath.Join(out, "workload.tar")
	_, err = oci.Write(workload, oci.Image{Ref: Workload, Entrypoint: []string{"/workload"}}, []oci.Platform{{
		Architecture: runtime.GOARCH, Files: []oci.File{{Path: "/workload", Source: filepath.Join(s.work, "workload")}},
	}})
	if err != nil {
		return nil, err
	}
	return []string{filepath.Join(out, "selvage-controller.tar"), filepath.Join(out, "selvage-agent.tar"), workload}, nil
}

// overlay is config/default with short waits.
const overlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
patches:
  - target: {kind: DaemonSet, name: selvage-agent}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --lease-duration=%s}
  - target: {kind: Deployment, name: selvage-controller}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --grace-period=%s}
`

// pools is a folder of pools with small ranges, so that nodes grow and use what
// they inherit. A patch of a pool that the folder lacks does nothing.
const pools = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
patches:
  - target: {kind: AddressPool, name: default}
    patch: |
      - {op: replace, path: /spec/rangePrefixLength, value: %d}
  - target: {kind: AddressPool, name: default-ipv6}
    patch: |
      - {op: replace, path: /spec/rangePrefixLength, value: %d}
`

// A node's first range has 32 addresses, of either family.
const (
	rangePrefixLength4 = 32 - 5
	rangePrefixLength6 = 128 - 5
)

// install applies config/default and the pools, and waits until every node is
// Ready and every peer in the network.
func (s *Stage) install(ctx context.Context) error {
	fmt.Fprintln(s.options.Out, "installing Selvage")
	all, err := s.kustomization("default", overlay, Lease, Grace)
	if err != nil {
		return err
	}
	addresses, err := s.kustomization(s.options.Pool, pools, rangePrefixLength4, rangePrefixLength6)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--kustomize", all},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/addresspools.net.selvage.dev"},
		{"apply", "--kustomize", addresses},
		{"--namespace", Namespace, "rollout", "status", "daemonset/selvage-agent", "--timeout=180s"},
		{"--namespace", Namespace, "rollout", "status", "deployment/selvage-controller", "--timeout=180s"},
		{"wait", "--for=condition=Ready", "--timeout=60s", "peers", "--all"},
	} {
		if _, err := s.Kubectl(ctx, args...); err != nil {
			return fmt.Errorf("%w\n%s", err, s.describe(ctx))
		}
	}
	return s.WaitReady(ctx)
}

// kustomization makes an overlay of a folder of config, as a person would.
func (s *Stage) kustomization(of, text string, values ...any) (string, error) {
	dir := filepath.Join(s.work, of)
	relative, err := filepath.Rel(dir, filepath.Join(s.options.Source, "config", of))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text = fmt.Sprintf(text, append([]any{relative}, values...)...)
	return dir, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600)
}

// describe says how things stand.
func (s *Stage) describe(ctx context.Context) string {
	text, err := s.Kubectl(ctx, "get", "--all-namespaces", "nodes,pods,peers,addressranges,peerremovals", "--output=wide")
	if err != nil {
		return err.Error()
	}
	return text
}
