// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// pod is a sandbox, as the container runtime makes one.
type pod struct {
	*hosts.Pod
	m    *machine
	id   string
	addr netip.Addr
}

// tryPod makes a sandbox and calls ADD.
func (m *machine) tryPod() (*pod, error) {
	m.t.Helper()
	m.pods++
	id := fmt.Sprintf("%s-sandbox-%d", m.node, m.pods)
	space, err := m.NewPod(id)
	if err != nil {
		m.t.Fatal(err)
	}
	p := &pod{Pod: space, m: m, id: id}
	if p.addr, err = p.add(); err != nil {
		space.Close()
		return nil, err
	}
	return p, nil
}

// newPod is tryPod where nothing may go wrong.
func (m *machine) newPod() *pod {
	m.t.Helper()
	p, err := m.tryPod()
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// awaitPod waits until ADD succeeds.
func (m *machine) awaitPod() *pod {
	m.t.Helper()
	var p *pod
	await.Until(m.t, "a pod on "+m.node, func() (err error) {
		p, err = m.tryPod()
		return err
	})
	return p
}

const configuration = `{"cniVersion":"1.1.0","name":"selvage","type":"selvage"}`

// plugin calls the real plugin as a runtime does.
func (p *pod) plugin(command string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(programs, "selvage"))
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.id, "CNI_NETNS=" + p.NetNS, "CNI_IFNAME=eth0", "CNI_PATH=" + programs,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + p.id, "SELVAGE_RUN_DIR=" + p.m.run,
	}
	cmd.Stdin = bytes.NewBufferString(configuration)
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%w: %s: %s", errRefused, command, out)
	}
	return out, nil
}

func (p *pod) add() (netip.Addr, error) {
	out, err := p.plugin("ADD")
	if err != nil {
		return netip.Addr{}, err
	}
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal(out, &result); err != nil || len(result.IPs) == 0 {
		return netip.Addr{}, fmt.Errorf("the plugin's answer %s: %w", out, err)
	}
	return result.IPs[0].Address.Addr(), nil
}

// del calls DEL and ends the sandbox.
func (p *pod) del() {
	p.m.t.Helper()
	if _, err := p.plugin("DEL"); err != nil {
		p.m.t.Fatal(err)
	}
	p.Close()
}

// status asks what containerd asks on every CRI Status.
func (m *machine) status() error {
	p := &pod{Pod: &hosts.Pod{Namespace: &hosts.Namespace{}}, m: m}
	_, err := p.plugin("STATUS")
	return err
}

// reaches pings another pod.
func (p *pod) reaches(other *pod) error {
	return p.Ping(p.m.t.Context(), other.addr, 2*time.Second)
}

// link is the state of the pod's own interface, as ip shows it.
func (p *pod) link() string {
	out, _ := exec.Command("nsenter", "--net="+p.NetNS, "ip", "-br", "link", "show", "eth0").CombinedOutput()
	return string(out)
}

// isUp reports whether the pod's link has a carrier: its host side is up.
func (p *pod) isUp() error {
	if state := p.link(); !bytes.Contains([]byte(state), []byte("LOWER_UP")) {
		return fmt.Errorf("the link of %s: %s", p.id, state)
	}
	return nil
}

func (p *pod) isCutOff() error {
	if p.isUp() == nil {
		return fmt.Errorf("the link of %s is up", p.id)
	}
	return nil
}

// wipe re-images the machine: its disk is lost.
func (m *machine) wipe() {
	m.t.Helper()
	if err := os.RemoveAll(m.disk); err != nil {
		m.t.Fatal(err)
	}
}
