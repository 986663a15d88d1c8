// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
)

// conflist is what config/node-agent installs for the runtime.
const conflist = `{
  "cniVersion": "1.1.0", "name": "selvage",
  "plugins": [{"type": "selvage", "capabilities": {"ips": true}}]
}`

const (
	askPort  = 7000 // pods answer with their name here
	hearPort = 7001 // and listen here
)

// pod is a pod with a network: its object, its namespace and its address.
type pod struct {
	name    string
	object  *corev1.Pod
	space   *hosts.Pod
	machine *machine
	runtime *libcni.RuntimeConf
	address netip.Addr
	ear     *hosts.Ear
}

// runtimeExec calls plugins as a runtime does, on a host where the agent's
// socket is in dir.
type runtimeExec struct {
	*invoke.RawExec
	version.PluginDecoder
	dir string
}

func (e *runtimeExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	return e.RawExec.ExecPlugin(ctx, path, stdin, append(environ, "SELVAGE_RUN_DIR="+e.dir))
}

func (m *machine) cni() (*libcni.CNIConfig, *libcni.NetworkConfigList, error) {
	list, err := libcni.ConfListFromBytes([]byte(conflist))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the network configuration: %w", err)
	}
	exec := &runtimeExec{RawExec: &invoke.RawExec{}, dir: m.runDir()}
	return libcni.NewCNIConfigWithCacheDir([]string{m.world.bin}, filepath.Join(m.dir, "cni"), exec), list, nil
}

// runPod is newPod until it succeeds: a kubelet tries again where the plugin
// says that it is worth it.
func (m *machine) runPod(ctx context.Context, name string, want netip.Addr) (p *pod, err error) {
	err = eventually(ctx, func(ctx context.Context) error {
		p, err = m.newPod(ctx, name, want)
		var refusal *cnitypes.Error
		if err != nil && !(errors.As(err, &refusal) && refusal.Code == cnitypes.ErrTryAgainLater) {
			return &finalError{err}
		}
		return err
	})
	return p, err
}

// newPod does what scheduler, kubelet and runtime do for a pod on the host: an
// object, a namespace, CNI ADD, the address into the object's status. With an
// address, that one is asked for by the capability ips.
func (m *machine) newPod(ctx context.Context, name string, want netip.Addr) (*pod, error) {
	p := &pod{name: name, machine: m}
	var err error
	if p.object, err = m.world.cp.NewPod(ctx, "default", name, m.name, ""); err != nil {
		return nil, err
	}
	if p.space, err = m.host.NewPod(name); err != nil {
		return nil, err
	}
	if err := p.attach(ctx, want); err != nil {
		p.space.Close()
		return nil, errors.Join(err, m.world.deletePod(ctx, p))
	}
	if err := m.world.cp.SetPodAddresses(ctx, p.object, p.address); err != nil {
		return nil, err
	}
	if err := p.space.AnswerWithName(askPort); err != nil {
		return nil, err
	}
	if p.ear, err = p.space.Listen(hearPort); err != nil {
		return nil, err
	}
	m.world.pods[name] = p
	return p, nil
}

func (p *pod) attach(ctx context.Context, want netip.Addr) error {
	config, list, err := p.machine.cni()
	if err != nil {
		return err
	}
	sandbox := uuid.NewString()
	p.runtime = &libcni.RuntimeConf{
		ContainerID: sandbox, NetNS: p.space.NetNS, IfName: "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", p.object.Namespace}, {"K8S_POD_NAME", p.name},
			{"K8S_POD_INFRA_CONTAINER_ID", sandbox}, {"K8S_POD_UID", string(p.object.UID)},
		},
	}
	if want.IsValid() {
		p.runtime.CapabilityArgs = map[string]any{"ips": []string{want.String()}}
	}
	result, err := config.AddNetworkList(ctx, list, p.runtime)
	if err != nil {
		return fmt.Errorf("CNI ADD of %s on %s: %w", p.name, p.machine.name, describe(err))
	}
	r, err := current.NewResultFromResult(result)
	if err != nil || len(r.IPs) == 0 {
		return fmt.Errorf("CNI ADD of %s on %s gives no address: %v (%w)", p.name, p.machine.name, result, err)
	}
	address, _ := netip.AddrFromSlice(r.IPs[0].Address.IP)
	p.address = address.Unmap()
	return nil
}

// describe keeps an error's code, which libcni drops from the text.
func describe(err error) error {
	var e *cnitypes.Error
	if errors.As(err, &e) {
		text, _ := json.Marshal(e)
		return fmt.Errorf("%w %s", err, text)
	}
	return err
}

// delete is what becomes of a pod's object when its node is dead and somebody
// (or the node lifecycle controller) deletes it by force.
func (w *world) deletePod(ctx context.Context, p *pod) error {
	if err := w.client.Delete(ctx, p.object, client.GracePeriodSeconds(0)); err != nil {
		return fmt.Errorf("deleting the object of pod %s: %w", p.name, err)
	}
	return nil
}

// reaches pings one pod from another until there is an answer.
func (p *pod) reaches(ctx context.Context, to *pod) error {
	return p.space.Ping(ctx, to.address, patience)
}

// whoIs asks an address, from this pod, for the name of who has it.
func (p *pod) whoIs(ctx context.Context, address netip.Addr, wait time.Duration) (string, error) {
	reply, err := p.space.Ask(ctx, netip.AddrPortFrom(address, askPort), wait)
	return reply.Text, err
}

// checked is CNI CHECK: the agent compares what it knows with the kernel.
func (p *pod) checked(ctx context.Context) error {
	config, list, err := p.machine.cni()
	if err != nil {
		return err
	}
	if err := p.machine.check(); err != nil {
		return err
	}
	if err := config.CheckNetworkList(ctx, list, p.runtime); err != nil {
		return fmt.Errorf("CNI CHECK of %s on %s: %w", p.name, p.machine.name, describe(err))
	}
	return nil
}

// detach is CNI DEL and the removal of the namespace, by the runtime.
func (p *pod) detach(ctx context.Context) error {
	config, list, err := p.machine.cni()
	if err != nil {
		return err
	}
	if err := config.DelNetworkList(ctx, list, p.runtime); err != nil {
		return fmt.Errorf("CNI DEL of %s on %s: %w", p.name, p.machine.name, describe(err))
	}
	p.space.Close()
	delete(p.machine.world.pods, p.name)
	return nil
}
