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
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/test/e2e/chaos/history"
)

// pod is a pod with a network namespace, and what runs in it.
type pod struct {
	name    string
	machine *Machine
	object  *corev1.Pod
	space   *hosts.Pod
	voice   *voice
	want    netip.Addr // asked for
	boot    int        // of the machine
	ending  bool       // the kubelet's

	adding sync.Mutex // held while ADD runs
	mu     sync.Mutex
	// began is when ADD was called, unsure that it was not answered well.
	began   time.Duration
	unsure  bool
	address netip.Addr
	holding *history.Holding
}

func (p *pod) addr() netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// configuration is what the runtime hands on; %s are the addresses asked for.
const configuration = `{"cniVersion":"1.1.0","name":"selvage","type":"selvage"%s}`

// pluginTimeout is a runtime's patience.
const pluginTimeout = 20 * time.Second

// plugin calls the real plugin as a runtime does.
func (p *pod) plugin(command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pluginTimeout)
	defer cancel()
	bin := p.machine.programs()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "selvage"))
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.name, "CNI_NETNS=" + p.space.NetNS, "CNI_IFNAME=eth0", "CNI_PATH=" + bin,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + p.name, "SELVAGE_RUN_DIR=" + p.machine.run,
	}
	asked := ""
	if p.want.IsValid() {
		asked = fmt.Sprintf(`,"runtimeConfig":{"ips":[%q]}`, p.want)
	}
	cmd.Stdin = bytes.NewBufferString(fmt.Sprintf(configuration, asked))
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s of %s: %w: %s", command, p.name, err, out)
	}
	return out, nil
}

// add calls ADD and records what came of it.
func (p *pod) add() error {
	w := p.machine.world
	p.adding.Lock()
	defer p.adding.Unlock()
	p.mu.Lock()
	p.began, p.unsure = w.Now(), true
	p.mu.Unlock()
	out, err := p.plugin("ADD")
	ended := w.Now()
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err == nil {
		err = json.Unmarshal(out, &result)
	}
	if err == nil && len(result.IPs) == 1 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unsure, p.address = false, result.IPs[0].Address.Addr()
		p.holding = w.History.Add(p.name, p.machine.Name, p.address, history.Span{Call: p.began, Return: ended}, true)
		w.book.note(p.address)
		w.Journal.Say("%s: ADD %s: %s", p.machine.Name, p.name, p.address)
		return nil
	}
	p.look()
	return fmt.Errorf("%w: %s", err, out)
}

// look records the address that an ADD without a good answer has left behind.
func (p *pod) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unsure || p.holding != nil {
		return
	}
	_, addresses := p.link()
	for _, a := range addresses {
		w := p.machine.world
		p.address = a
		p.holding = w.History.Add(p.name, p.machine.Name, a, history.Span{Call: p.began}, false)
		w.book.note(a)
		w.Journal.Say("%s: ADD %s had no good answer, and yet it has %s", p.machine.Name, p.name, a)
	}
}

// link looks at the pod's interface from inside: whether it runs, and with
// which IPv4 addresses.
func (p *pod) link() (runs bool, addresses []netip.Addr) {
	_ = p.space.Do(func() error {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		runs = device.Flags&net.FlagRunning != 0
		all, err := device.Addrs()
		for _, a := range all {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
				addresses = append(addresses, prefix.Addr())
			}
		}
		return err
	})
	return runs, addresses
}

// releasing says that DEL is called from now on, or that the namespace goes.
func (p *pod) releasing(since time.Duration) {
	p.look()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holding != nil {
		p.machine.world.History.Releasing(p.holding, since)
	}
}

// vanish removes the namespace; since is when its end may have begun.
func (p *pod) vanish(since time.Duration, how string) {
	w := p.machine.world
	p.adding.Lock()
	defer p.adding.Unlock()
	p.look()
	p.space.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holding != nil {
		w.History.Release(p.holding, history.Span{Call: since, Return: w.Now()})
		w.Journal.Say("%s: %s: %s of %s", p.machine.Name, how, p.name, p.address)
	}
	w.janitor.remove(p.name)
}
