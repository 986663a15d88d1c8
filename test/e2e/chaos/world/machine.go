// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// Machine is a host: its disk, its agent, its cable and its pods. Several may
// break it at once: what is broken twice is whole when both have let go.
type Machine struct {
	Name  string
	world *World
	api   *hosts.Forward
	disk  string
	run   string

	mu         sync.Mutex
	bin        string // where its programs come from
	host       *hosts.Host
	kubeconfig string
	agent      *processes.Process
	off        bool // for good
	boot       int  // how often the power was cut
	down       int  // who wants that the agent does not run
	frozen     int
	cut        int
	severed    int
	drops      map[*Drop]bool
	ended      int // how often the agent ended by itself

	kubelet kubelet
}

// NewMachine makes a host and registers its Node, as its kubelet would. The
// agent runs from Up on, and pods when they are asked for.
func (w *World) NewMachine(ctx context.Context) (*Machine, error) {
	name := fmt.Sprintf("host%d", len(w.Machines)+1)
	host, err := w.net.Host(name)
	if err != nil {
		return nil, err
	}
	front, err := w.balance(len(w.Machines) % len(w.backends))
	if err != nil {
		return nil, err
	}
	m := &Machine{Name: name, world: w, bin: w.Bin, host: host, disk: filepath.Join(w.Dir, name+"-disk"), run: filepath.Join(w.runs, name), drops: map[*Drop]bool{}, down: 1}
	m.kubelet.init(m)
	if m.api, err = w.net.Forward(front); err != nil {
		return nil, err
	}
	w.Machines = append(w.Machines, m)
	if err := m.Register(ctx); err != nil {
		return nil, err
	}
	return m, m.reconcile()
}

// Host is the machine's present self: a power cut replaces its namespace.
func (m *Machine) Host() *hosts.Host { return m.host }

// Register makes the Node and the agent's pod and token, as a kubelet that
// joins, and the DaemonSet controller.
func (m *Machine) Register(ctx context.Context) error {
	if _, err := m.world.Plane.NewNode(ctx, m.Name, m.host.Address, m.host.Address6); err != nil {
		return err
	}
	path, _, err := m.world.Plane.NewAgent(ctx, Namespace, m.Name, m.api.Address)
	if err != nil {
		return err
	}
	copied, err := m.world.keepCopy(path, m.Name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kubeconfig = copied
	return nil
}

// Unregister deletes the Node and the agent's pod, as `kubectl delete node` and
// the pods' garbage collection do.
func (m *Machine) Unregister(ctx context.Context) error {
	agent := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "selvage-agent-" + m.Name}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.Name}}
	return errors.Join(
		client.IgnoreNotFound(m.world.Admin.Delete(ctx, node)),
		client.IgnoreNotFound(m.world.Admin.Delete(ctx, agent, client.GracePeriodSeconds(0))))
}

// Down kills the agent and keeps it down until Up.
func (m *Machine) Down() { m.change(func() { m.down++ }) }

// Up lets it run again.
func (m *Machine) Up() { m.change(func() { m.down-- }) }

// Crash kills the agent, and its kubelet starts it anew.
func (m *Machine) Crash() {
	m.Down()
	m.Up()
}

// Freeze stops the agent's time until Thaw.
func (m *Machine) Freeze() { m.change(func() { m.frozen++ }) }

// Thaw lets it go on.
func (m *Machine) Thaw() { m.change(func() { m.frozen-- }) }

// Cut pulls the cable out until Join.
func (m *Machine) Cut() { m.change(func() { m.cut++ }) }

// Join plugs it in.
func (m *Machine) Join() { m.change(func() { m.cut-- }) }

// Sever ends the connections to the API server and refuses new ones until Mend.
func (m *Machine) Sever() { m.change(func() { m.severed++ }) }

// Mend lets them through.
func (m *Machine) Mend() { m.change(func() { m.severed-- }) }

func (m *Machine) change(what func()) {
	m.mu.Lock()
	what()
	m.mu.Unlock()
	if err := m.reconcile(); err != nil {
		m.world.Journal.Say("%s cannot be made as it is to be: %v", m.Name, err)
	}
}

// reconcile makes the machine what it is to be.
func (m *Machine) reconcile() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reconcileLocked()
}

func (m *Machine) reconcileLocked() error {
	var err error
	if m.cut > 0 || m.off {
		err = m.host.Cut()
	} else {
		err = m.host.Heal()
	}
	if m.severed > 0 {
		m.api.Cut()
	} else {
		m.api.Heal()
	}
	return errors.Join(err, m.applyDrops(), m.reconcileAgent())
}

func (m *Machine) reconcileAgent() error {
	running := m.agent != nil && m.agent.Running()
	if m.down > 0 || m.off {
		if running {
			m.agent.Kill()
		}
		return nil
	}
	if !running {
		if err := m.startAgent(); err != nil {
			return err
		}
	}
	if m.frozen > 0 {
		return m.agent.Signal(syscall.SIGSTOP)
	}
	return m.agent.Signal(syscall.SIGCONT)
}

// flags are those of all the agent's commands.
func (m *Machine) flags() []string {
	return []string{
		"--node-name=" + m.Name, "--kubeconfig=" + m.kubeconfig, "--namespace=" + Namespace,
		"--state-dir=" + m.disk, "--run-dir=" + m.run, "--lease-duration=" + m.world.Lease.String(),
		"--cri-socket=" + filepath.Join(m.run, "cri.sock"),
	}
}

func (m *Machine) startAgent() error {
	for _, dir := range []string{m.disk, m.run} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the folders of %s: %w", m.Name, err)
		}
	}
	cmd := exec.Command(filepath.Join(m.bin, "selvage-agent"), append(m.flags(), "--headroom=6", "--metrics-bind-address=0", "--health-probe-bind-address=0")...)
	agent, err := m.host.StartProcess("the agent of "+m.Name, filepath.Join(m.world.Dir, m.Name+"-agent.log"), cmd)
	if err != nil {
		return err
	}
	m.agent = agent
	go m.restart(agent)
	return nil
}

// Replace has the machine's programs come from another folder from now on, and
// replaces its agent as a DaemonSet does: it is asked to end, and the other one
// is started.
func (m *Machine) Replace(bin string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	former := m.agent
	m.bin, m.agent = bin, nil
	if former != nil {
		former.Stop(stopGrace)
	}
	return m.reconcileLocked()
}

// programs is where its programs come from.
func (m *Machine) programs() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bin
}

// restart is what a kubelet does with an agent that ends by itself.
func (m *Machine) restart(agent *processes.Process) {
	<-agent.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent != agent || m.down > 0 || m.off {
		return
	}
	m.ended++
	m.world.Journal.Say("the agent of %s has ended by itself:\n%s", m.Name, agent.Tail(5))
	time.AfterFunc(time.Second, func() { _ = m.reconcile() })
}

// Ended is how often the agent ended by itself.
func (m *Machine) Ended() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}

// Wipe makes the machine's disk empty, while the agent is down: re-imaged.
func (m *Machine) Wipe() error {
	if err := os.RemoveAll(m.disk); err != nil {
		return fmt.Errorf("wiping the disk of %s: %w", m.Name, err)
	}
	return nil
}

// PowerCut is a reboot: agent, pods and the kernel's state are gone; the disk
// stays, and the agent starts again if nobody keeps it down.
func (m *Machine) PowerCut() error {
	m.Down()
	defer m.Up()
	// Without it a plugin would wait for the agent to be back.
	if err := os.RemoveAll(m.run); err != nil {
		return fmt.Errorf("emptying /run of %s: %w", m.Name, err)
	}
	m.kubelet.lose()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot++
	return m.host.Renew()
}

// powerOff is the end.
func (m *Machine) powerOff() {
	m.kubelet.end()
	m.mu.Lock()
	m.off = true
	agent := m.agent
	m.mu.Unlock()
	if agent != nil {
		_ = agent.Signal(syscall.SIGCONT)
		agent.Stop(stopGrace)
	}
}
