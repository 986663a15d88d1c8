// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package quickstart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/selvage-net/selvage/hack/cluster/controlplane"
)

const (
	source = "../../.."
	down   = "go run ./hack/cluster down"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stranger types what pages say.
type stranger struct {
	*testing.T
	*shell
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *stranger) follow(all []step) {
	s.Helper()
	for _, step := range all {
		began := time.Now()
		printed, code, err := s.typed(step.command)
		s.Logf("%s, %s\n$ %s\n%s", step.where, time.Since(began).Round(100*time.Millisecond), step.command, printed)
		switch {
		case err != nil:
			s.Fatal(err)
		case step.refused() != (code != 0):
			s.Fatalf("%s: exit code %d, and the page shows %q", step.where, code, step.shown)
		}
		if line := missing(step.shown, printed); line != "" {
			s.Fatalf("%s: the page shows what was not printed:\n%s", step.where, line)
		}
	}
}

// What docs/install.md says is what the quickstart does.
func TestSameCommands(t *testing.T) {
	did := map[string]bool{}
	for _, step := range steps("", read(t, "docs/quickstart.md")) {
		did[bare(step.command)] = true
	}
	page := read(t, "docs/install.md")
	for _, heading := range []string{"Install", "Uninstall"} {
		said, found := section(page, heading)
		if !found {
			t.Errorf("docs/install.md has no section %s", heading)
		}
		said, _, _ = strings.Cut(said, "\nOut of order") // test/e2e/lifecycle does that
		for _, step := range steps("docs/install.md, "+heading, said) {
			if !did[bare(step.command)] {
				t.Errorf("%s: the quickstart does not do: %s", step.where, step.command)
			}
		}
	}
}

// The quickstart, and the chart on the same nodes before they are taken down.
func TestQuickstart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: nodes are namespaces and control groups, which takes root")
	}
	page := steps("docs/quickstart.md", read(t, "docs/quickstart.md"))
	chart, found := section(read(t, "docs/install.md"), "With Helm")
	if len(page) < 40 || page[len(page)-1].command != down || !found {
		t.Fatalf("%d commands in docs/quickstart.md, or it does not end with %s, or docs/install.md has no With Helm", len(page), down)
	}

	sh, err := newShell(t.Context(), source, "PATH="+os.Getenv("PATH")+":"+programs(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{T: t, shell: sh}
	defer func() {
		if t.Failed() {
			s.evidence()
		}
		if err := sh.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.follow(page[:len(page)-1])
	if _, _, err := s.typed("unset -f kubectl"); err != nil {
		t.Fatal(err)
	}
	s.follow(steps("docs/install.md, With Helm", chart))
	for _, kind := range []string{"crds", "clusterroles", "clusterrolebindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
		if left, code, err := s.typed("kubectl get " + kind + " -o name"); err != nil || code != 0 || strings.Contains(left, "selvage") {
			t.Errorf("left behind: %v\n%s", err, left)
		}
	}
	s.follow(page[len(page)-1:])
}

// programs is a folder with helm and with a kubectl that is a program: the
// chart's page begins where there is a cluster already.
func programs(t *testing.T) string {
	t.Helper()
	paths, err := controlplane.Binaries(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	tools, err := filepath.Abs(source + "/bin/tools")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "make", "-C", source, tools+"/helm").CombinedOutput(); err != nil {
		t.Fatalf("building helm: %v\n%s", err, out)
	}
	dir := t.TempDir()
	for name, program := range map[string]string{"kubectl": paths.Kubectl, "helm": tools + "/helm"} {
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"} {
		t.Setenv(name, t.TempDir())
	}
	return dir
}

// evidence is what a person would look at next; then the cluster goes.
func (s *stranger) evidence() {
	for _, command := range []string{
		"kubectl get nodes,pods,peers,peerremovals --all-namespaces -o wide",
		"kubectl -n selvage-system logs --prefix --tail 40 --selector app.kubernetes.io/name=selvage",
		"kubectl events --all-namespaces | tail -40",
		down,
	} {
		printed, _, err := s.typed(command)
		s.Logf("%v\n$ %s\n%s", err, command, printed)
	}
}
