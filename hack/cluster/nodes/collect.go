// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

// asked are commands whose output says most about a node, by file name.
var asked = map[string][]string{
	"addresses.txt":  {"ip", "-details", "address"},
	"routes.txt":     {"ip", "route", "show", "table", "all"},
	"routes6.txt":    {"ip", "-6", "route", "show", "table", "all"},
	"neighbours.txt": {"ip", "neighbour"},
	"nftables.txt":   {"nft", "list", "ruleset"},
	"containers.txt": {"ctr", "--namespace=k8s.io", "containers", "list"},
	"images.txt":     {"ctr", "--namespace=k8s.io", "images", "list"},
	"processes.txt":  {"ps", "axfww"},
	"mounts.txt":     {"cat", "/proc/self/mountinfo"},
}

// Collect writes what explains a failure into dir: every program's log, the
// logs of pods, the cluster's objects and each node's network. What cannot be
// had, as from a node that is off, is said in the error; the rest is there.
func (c *Cluster) Collect(ctx context.Context, dir string) error {
	errs := []error{os.MkdirAll(dir, 0o755)}
	logs, err := filepath.Glob(filepath.Join(c.Dir, "*.log"))
	errs = append(errs, err)
	for _, log := range logs {
		errs = append(errs, copyFile(log, filepath.Join(dir, filepath.Base(log))))
	}
	for name, args := range map[string][]string{
		"objects.txt": {"get", "nodes,pods,services,endpointslices,daemonsets,deployments", "--all-namespaces", "--output=wide"},
		"nodes.yaml":  {"get", "nodes", "--output=yaml"},
		"pods.yaml":   {"get", "pods", "--all-namespaces", "--output=yaml"},
		"events.txt":  {"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
	} {
		cmd := exec.CommandContext(ctx, c.ControlPlane.Kubectl, append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)...)
		errs = append(errs, writeOutput(filepath.Join(dir, name), cmd))
	}
	for _, n := range c.Nodes() {
		errs = append(errs, n.collect(ctx, filepath.Join(dir, n.Name)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("not all could be collected in %s: %w", dir, err)
	}
	return nil
}

func (n *Node) collect(ctx context.Context, dir string) error {
	errs := []error{copyTree(n.Logs(), dir)}
	// Container logs are links below /var/log/containers to files there.
	errs = append(errs, copyTree(filepath.Join(n.disk(), machine.DiskLog, "pods"), filepath.Join(dir, "pods")))
	if n.State() != "on" {
		return errors.Join(append(errs, fmt.Errorf("%s is %s", n.Name, n.State()))...)
	}
	for name, command := range asked {
		cmd, err := n.Command(ctx, command[0], command[1:]...)
		if err == nil {
			err = writeOutput(filepath.Join(dir, name), cmd)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// copyTree copies the regular files; a folder that is not there has none.
func copyTree(from, to string) error {
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return copyFile(path, target)
	})
}

func writeOutput(path string, cmd *exec.Cmd) error {
	out, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, stderr)
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
