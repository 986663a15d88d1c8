// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// machine is a host with its disk, and the agent that runs on it.
type machine struct {
	*hosts.Host
	t *testing.T
	// node is the name that its kubelet registered.
	node       string
	disk, run  string
	log        string
	kubeconfig string
	// api is this machine's own way to the API server, which can be cut.
	api     *hosts.Forward
	process *processes.Process
	pods    int
}

var machines int

// newMachine makes a machine and registers its Node.
func newMachine(t *testing.T) *machine {
	t.Helper()
	machines++
	m := newMachineAs(t, fmt.Sprintf("node%d", machines))
	m.register()
	return m
}

// newMachineAs makes a machine that goes by the name of a Node that exists, or
// will.
func newMachineAs(t *testing.T, node string) *machine {
	t.Helper()
	host, err := network.Host(node)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m := &machine{
		Host: host, t: t, node: node, disk: filepath.Join(dir, "disk"), run: filepath.Join(dir, "run"), log: filepath.Join(dir, "log"),
	}
	t.Cleanup(func() {
		if m.process != nil {
			m.process.Kill()
		}
		if m.logs("DATA RACE") == nil {
			t.Error("a data race")
		}
		if t.Failed() || os.Getenv("SELVAGE_LOGS") != "" {
			if text, err := os.ReadFile(m.log); err == nil {
				t.Logf("the log of %s:\n%s", m.node, text)
			}
		}
		host.Close()
	})
	return m
}

// register makes the Node.
func (m *machine) register() {
	m.t.Helper()
	if _, err := plane.NewNode(m.t.Context(), m.node, m.Address); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = admin.Delete(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.node}})
	})
}

// flags are those that every command takes.
func (m *machine) flags() []string {
	return []string{
		"--node-name=" + m.node, "--namespace=" + namespace, "--kubeconfig=" + m.kubeconfig,
		"--state-dir=" + m.disk, "--run-dir=" + m.run, "--cri-socket=" + filepath.Join(m.run, "cri.sock"),
		fmt.Sprintf("--lease-duration=%ds", leaseSeconds),
	}
}

// args are the serving agent's flags.
func (m *machine) args(more ...string) []string {
	return append(append(m.flags(), "--metrics-bind-address="+m.metrics().String()), more...)
}

func (m *machine) metrics() netip.AddrPort { return netip.AddrPortFrom(m.Address, 9783) }

// credentials makes the agent's pod and the token that is bound to it.
func (m *machine) credentials() {
	m.t.Helper()
	if m.kubeconfig != "" {
		return
	}
	var err error
	if m.api, err = network.Forward(plane.Address); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.api.Close)
	path, pod, err := plane.NewAgent(m.t.Context(), namespace, m.node, m.api.Address)
	if err != nil {
		m.t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	// Machines that go by one name have a token each.
	m.kubeconfig = m.log + ".kubeconfig"
	if err := os.WriteFile(m.kubeconfig, text, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = admin.Delete(context.Background(), pod, zeroGrace)
	})
}

// start starts the agent.
func (m *machine) start(more ...string) {
	m.t.Helper()
	m.credentials()
	process, err := m.StartProcess("selvage-agent of "+m.node, m.log, exec.Command(filepath.Join(programs, "selvage-agent"), m.args(more...)...))
	if err != nil {
		m.t.Fatal(err)
	}
	m.process = process
}

// stop ends it as an upgrade does, kill as a crash does.
func (m *machine) stop() { m.process.Stop(20 * time.Second) }
func (m *machine) kill() { m.process.Kill() }
func (m *machine) signal(s syscall.Signal) {
	m.t.Helper()
	if err := m.process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// runAgent runs another command of the agent's program to its end.
func (m *machine) runAgent(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "selvage-agent"), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.Run(cmd)
	return out.String(), err
}

// progress asks the agent how far it is.
func (m *machine) progress() (membership.Progress, error) {
	caller := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.run, "agent.sock"))
		},
	}}
	response, err := caller.Get("http://agent/progress")
	if err != nil {
		return membership.Progress{}, err
	}
	defer response.Body.Close()
	var p membership.Progress
	return p, json.NewDecoder(response.Body).Decode(&p)
}

// awaitRow waits until the agent is in that row, and says those words.
func (m *machine) awaitRow(row membership.Row, words ...string) membership.Progress {
	m.t.Helper()
	var p membership.Progress
	await.Until(m.t, fmt.Sprintf("%s to be in row %s", m.node, row), func() error {
		var err error
		if p, err = m.progress(); err != nil {
			return err
		}
		if p.Row != row.String() {
			return fmt.Errorf("it is %+v", p)
		}
		for _, word := range words {
			if !strings.Contains(p.Waiting+p.Refused, word) {
				return fmt.Errorf("it does not speak of %q: %+v", word, p)
			}
		}
		return nil
	})
	return p
}

// awaitServing waits until the agent allocates.
func (m *machine) awaitServing() {
	m.t.Helper()
	await.Until(m.t, m.node+" to serve", func() error {
		p, err := m.progress()
		if err == nil && (p.Refused != "" || p.Row != membership.Resume.String()) {
			err = fmt.Errorf("%+v", p)
		}
		return err
	})
}

// apiRequests is how many requests the agent has sent to the API server.
func (m *machine) apiRequests() int {
	m.t.Helper()
	body, err := m.scrape()
	if err != nil {
		m.t.Fatal(err)
	}
	total := 0
	for _, line := range strings.Split(body, "\n") {
		var n int
		if strings.HasPrefix(line, "selvage_agent_api_requests_total{") {
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
				m.t.Fatal(err)
			}
			total += n
		}
	}
	if total == 0 {
		m.t.Fatalf("no count of requests in:\n%s", body)
	}
	return total
}

var errRefused = errors.New("the plugin refused")

const pingEvery = 50 * time.Millisecond

// record is what the machine's disk says.
func (m *machine) record() membership.Record {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.disk, "identity"))
	if err != nil {
		m.t.Fatal(err)
	}
	record, err := membership.ParseRecord(data)
	if err != nil {
		m.t.Fatal(err)
	}
	return record
}

// serves is nil while the agent allocates.
func (m *machine) serves() error {
	p, err := m.progress()
	if err == nil && p.Refused != "" {
		err = fmt.Errorf("%+v", p)
	}
	return err
}

// awaitOwns waits until the agent has taken a range on.
func (m *machine) awaitOwns(s *stage, r *v1alpha1.AddressRange) {
	m.t.Helper()
	await.Until(m.t, m.node+" to take "+r.Name+" on", func() error {
		if err := hand.Get(m.t.Context(), client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		if r.Status.ObservedEpoch != r.Spec.Epoch {
			return fmt.Errorf("%+v", r.Status)
		}
		return nil
	})
}
