// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// Pod is a pod that is run by hand, and not by the machine's kubelet.
type Pod struct {
	*hosts.Pod
	Address netip.Addr
	inner   *pod
}

// RunPod does what scheduler, kubelet and runtime do for one pod. An address,
// if it is valid, is asked for by the capability ips.
func (m *Machine) RunPod(ctx context.Context, name string, want netip.Addr) (*Pod, error) {
	p, err := m.newPod(ctx, name)
	if err != nil {
		return nil, err
	}
	p.want = want
	if err := p.add(); err != nil {
		_, undo := p.plugin("DEL")
		p.vanish(p.began, "ADD failed")
		if undo != nil {
			return nil, fmt.Errorf("%w; and %w", err, undo)
		}
		return nil, err
	}
	if err := m.world.Plane.SetPodAddresses(ctx, p.object, p.address); err != nil {
		return nil, err
	}
	return &Pod{Pod: p.space, Address: p.address, inner: p}, nil
}

// End calls DEL and ends the pod.
func (p *Pod) End() error {
	since := p.inner.machine.world.Now()
	p.inner.releasing(since)
	if _, err := p.inner.plugin("DEL"); err != nil {
		return err
	}
	p.inner.vanish(since, "DEL")
	return nil
}

// Connected says whether the pod's link runs: a stale pod's is taken down.
func (p *Pod) Connected() bool {
	runs, _ := p.inner.link()
	return runs
}

// Ask asks an address who is there. What comes back is in the history.
func (p *Pod) Ask(address netip.Addr) { p.inner.voice.ask(address) }

// Progress asks the agent how far it is.
func (m *Machine) Progress(ctx context.Context) (membership.Progress, error) {
	caller := http.Client{Timeout: requestTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.run, "agent.sock"))
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/progress", nil)
	if err != nil {
		return membership.Progress{}, err
	}
	response, err := caller.Do(request)
	if err != nil {
		return membership.Progress{}, fmt.Errorf("asking the agent of %s: %w", m.Name, err)
	}
	defer response.Body.Close()
	var p membership.Progress
	return p, json.NewDecoder(response.Body).Decode(&p)
}

// Reset runs `selvage-agent reset` on the machine, beside its agent.
func (m *Machine) Reset(ctx context.Context, more ...string) (string, error) {
	var out bytes.Buffer
	args := append(append([]string{"reset"}, m.flags()...), more...)
	cmd := exec.CommandContext(ctx, filepath.Join(m.programs(), "selvage-agent"), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.host.Run(cmd)
	return out.String(), err
}

// Check runs kubectl selvage check once.
func (w *World) Check(ctx context.Context) (string, error) { return w.CheckBy(ctx, w.Bin) }

// CheckBy is Check by the programs of another folder.
func (w *World) CheckBy(ctx context.Context, bin string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "kubectl-selvage"), "check", "--kubeconfig="+w.Plane.Kubeconfig)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
