// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

func buildController(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "selvage-controller")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version=v9.9.9", "-o", path, "github.com/selvage-net/selvage/cmd/selvage-controller")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v: %s", err, out)
	}
	return path
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type process struct {
	cmd             *exec.Cmd
	metrics, health string
	log             *bytes.Buffer
}

func start(t *testing.T, program, kubeconfig string) *process {
	t.Helper()
	p := &process{metrics: freePort(t), health: freePort(t), log: &bytes.Buffer{}}
	p.cmd = exec.Command(program, "--kubeconfig", kubeconfig, "--leader-elect", "--namespace", namespace, "--lease-duration", "2s",
		"--metrics-bind-address", p.metrics, "--health-probe-bind-address", p.health)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
	})
	return p
}

func fetch(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), nil
}

func (s *stage) leader() (string, error) {
	var l coordinationv1.Lease
	err := s.admin.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.LeaderLease}, &l)
	if err != nil {
		return "", err
	}
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
		return "", errors.New("nobody leads")
	}
	return *l.Spec.HolderIdentity, nil
}

// Two real processes: one leads, and when it is told to end the other goes on
// at once.
func TestProgram(t *testing.T) {
	s := newStage(t)
	program := buildController(t)
	kubeconfig, _, err := plane.KubeconfigFor(t.Context(), namespace, "selvage-controller", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := start(t, program, kubeconfig)
	var led string
	await.Until(t, "a leader", func() (err error) { led, err = s.leader(); return err })
	second := start(t, program, kubeconfig)
	for _, p := range []*process{first, second} {
		for _, path := range []string{"/healthz", "/readyz"} {
			await.Until(t, path, func() error { _, err := fetch("http://" + p.health + path); return err })
		}
	}
	threeHosts(s, script{})
	await.Until(t, "metrics", func() error {
		text, err := fetch("http://" + first.metrics + "/metrics")
		if err != nil {
			return err
		}
		return mentions(text, `selvage_peers{phase="Active"} 3`, `selvage_addresses{pool="default",state="total"} 1.048576e+06`,
			"selvage_decide_seconds_count", `selvage_snapshot_seconds_count{source="consistent"}`, "controller_runtime_reconcile_total", "workqueue_depth")
	})
	if err := first.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, first.log)
	}
	s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	expectTakenOver(s, s.awaitRemoved("host3"), v1alpha1.EvidenceAgentAcknowledged)
	if now, err := s.leader(); err != nil || now == led {
		t.Errorf("%s leads still (%v)", now, err)
	}
	if err := second.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestProgramRefusesWhatCannotWork(t *testing.T) {
	program := buildController(t)
	for _, c := range []struct{ args, want string }{
		{"--lease-duration 0s", "use at least 1s"},
		{"--max-removals 3", "a number above 0 and up to 1"},
		{"--log-level loud", "use debug, info or error"},
		{"--log-format xml", "use json or console"},
		{"--kubeconfig /no/such/file", "/no/such/file"},
		{"surplus", "unknown command"},
	} {
		out, err := exec.CommandContext(t.Context(), program, strings.Fields(c.args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s", c.args, err, out)
		}
	}
	out, err := exec.CommandContext(t.Context(), program, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v9.9.9") {
		t.Errorf("version: %v: %s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), program, "--help").CombinedOutput()
	if err != nil || mentions(string(out), "Examples:", "--leader-elect", "--max-removals", "POD_NAMESPACE") != nil {
		t.Errorf("help: %v: %s", err, out)
	}
}
