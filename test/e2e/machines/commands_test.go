// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machines

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

// TestCommands does from the command line what people without a test do.
func TestCommands(t *testing.T) {
	needRoot(t)
	root, err := controlplane.SourceDir()
	if err != nil {
		t.Fatal(err)
	}
	program, dir := filepath.Join(t.TempDir(), "cluster"), t.TempDir()
	build := exec.Command("go", "build", "-o", program, "./hack/cluster")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building hack/cluster: %v\n%s", err, said)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command(program, append([]string{"--dir=" + dir}, args...)...)
		cmd.Dir = root // programs of the nodes are built from there
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
	t.Cleanup(func() {
		if said, err := run("down"); err != nil {
			t.Errorf("down: %v\n%s", err, said)
		}
		leftovers(t, dir)
	})
	archive := workload(t)
	for _, step := range []struct {
		args string
		want string
		bad  bool
	}{
		{args: "node", want: "not up", bad: true},
		{args: "up --cni reference", want: "--nodes", bad: true},
		{args: "up --nodes 1 --cni=some", want: "none or reference", bad: true},
		{args: "up --nodes 1", want: "switched on"},
		{args: "up --nodes 1", want: "already"},
		{args: "status", want: "node1"},
		{args: "exec node1 -- hostname", want: "node1"},
		{args: "exec node9 -- hostname", want: "node9", bad: true},
		{args: "exec node1 -- false", bad: true},
		{args: "load-image " + archive},
		{args: "load-image /none", want: "no such file", bad: true},
		{args: "load-image --node node9 " + archive, want: "there are node1", bad: true},
		{args: "exec node1 -- ctr -n k8s.io images ls -q", want: image},
		{args: "node node1 stop", want: "done"},
		{args: "node", want: "off"},
		{args: "exec node1 -- hostname", want: "no node node1 is on", bad: true},
		{args: "node node1 join", want: "the node is off", bad: true},
		{args: "node node1 start", want: "done"},
		{args: "node node1 burn", want: "burn", bad: true},
		{args: "node node2 add", want: "done"},
		{args: "node node2 add", want: "already", bad: true},
		{args: "exec node2 -- ctr -n k8s.io images ls -q", want: image},
		{args: "kubectl -- get nodes", want: "node2"},
		{args: "collect " + filepath.Join(dir, "collected")},
		{args: "logs", want: "node2 kubelet"},
		{args: "down", want: "down"},
		{args: "logs node2 kubelet", want: "kubelet"},
		{args: "node", want: "not up", bad: true},
	} {
		said, err := run(strings.Fields(step.args)...)
		if (err != nil) != step.bad || !strings.Contains(said, step.want) {
			t.Fatalf("cluster %s: %v, want an error: %t, and to read %q:\n%s", step.args, err, step.bad, step.want, said)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "collected", "node2", "kubelet.log")); err != nil {
		t.Error(err)
	}
}
