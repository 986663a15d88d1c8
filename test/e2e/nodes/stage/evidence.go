// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// EvidenceDir is the folder for what a test leaves when it fails: in $ARTIFACTS,
// or else in bin/artifacts.
func (s *Stage) EvidenceDir(test string) string {
	dir := os.Getenv("ARTIFACTS")
	if dir == "" {
		dir = filepath.Join(s.options.Source, "bin", "artifacts")
	}
	return filepath.Join(dir, strings.NewReplacer(" ", "-", "/", "").Replace(test))
}

// Evidence writes into a folder what helps to find out why a test failed: the
// logs of controller, agents and nodes, the cluster's objects, the audit, and
// each node's routes, rules and connections.
func (s *Stage) Evidence(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	keep := func(name, text string, err error) {
		if err != nil {
			text += "\n" + err.Error()
		}
		// Some evidence is better than none.
		_ = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
	}
	text, err := s.Selvage(ctx, "check")
	keep("check.txt", text, err)
	text, err = s.Kubectl(ctx, "get", "--all-namespaces", "nodes,pods,events,leases,peers,addressranges,addresspools,peerremovals", "--output=yaml")
	keep("objects.yaml", text, err)
	var pods corev1.PodList
	if err := s.Client.List(ctx, &pods, client.InNamespace(Namespace)); err != nil {
		return err
	}
	for _, p := range pods.Items {
		text, err := s.Kubectl(ctx, "--namespace", Namespace, "logs", p.Name)
		keep(p.Name+"."+p.Spec.NodeName+".log", text, err)
		if text, err := s.Kubectl(ctx, "--namespace", Namespace, "logs", "--previous", p.Name); err == nil {
			keep(p.Name+"."+p.Spec.NodeName+".previous.log", text, nil)
		}
	}
	var errs []error
	for _, n := range s.Nodes() {
		for name, command := range map[string]string{
			"links": "ip -d address", "routes": "ip route show table all", "routes6": "ip -6 route show table all",
			"neighbours": "ip neighbour", "rules": "nft list ruleset", "connections": "cat /proc/net/nf_conntrack",
		} {
			words := append([]string{"--net=" + n.Host().NetNS, "--"}, strings.Fields(command)...)
			text, err := run(exec.CommandContext(ctx, "nsenter", words...))
			keep(fmt.Sprintf("%s.%s.txt", n.Name, name), text, err)
		}
		if _, err := os.Stat(n.Logs()); err == nil {
			errs = append(errs, os.CopyFS(filepath.Join(dir, n.Name), os.DirFS(n.Logs())))
		}
	}
	return errors.Join(errs...)
}
