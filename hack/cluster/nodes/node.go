// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// Node is a machine of the cluster.
type Node struct {
	// Name is the Node object's.
	Name string

	cluster *Cluster
	index   int // from 1
	host    *hosts.Host

	mu       sync.Mutex
	used     bool // it has been on before
	paused   bool
	process  *processes.Process
	cgroups  machine.Cgroups
	bootID   string
	bootedAt time.Time
	imported map[string]bool // archives that its disk has
}

// AddNode adds a node and switches it on. It does not wait for its kubelet.
func (c *Cluster) AddNode(ctx context.Context, name string) (*Node, error) {
	if n, _ := c.Node(name); n != nil {
		return nil, fmt.Errorf("there is a node %q already", name)
	}
	host, err := c.network.Host(name)
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, cluster: c, host: host, imported: map[string]bool{}}
	c.mu.Lock()
	c.nodes = append(c.nodes, n)
	n.index = len(c.nodes)
	c.mu.Unlock()
	if c.options.ReferenceCNI {
		if err := c.routeTo(n); err != nil {
			return nil, err
		}
	}
	c.say("%s: switched on, %s", name, join(n.Addresses()))
	return n, n.Start(ctx)
}

// Addresses are those of the node's families, IPv4 first.
func (n *Node) Addresses() []netip.Addr {
	switch n.cluster.options.Family {
	case IPv4:
		return []netip.Addr{n.host.Address}
	case IPv6:
		return []netip.Addr{n.host.Address6}
	default:
		return []netip.Addr{n.host.Address, n.host.Address6}
	}
}

// Dir holds the node's disk, its configuration and its logs.
func (n *Node) Dir() string { return n.path() }

// Logs is the folder with the output of the node's programs.
func (n *Node) Logs() string { return n.path("logs") }

func (n *Node) disk() string { return n.path("disk") }

func (n *Node) path(elements ...string) string {
	return filepath.Join(append([]string{n.cluster.Dir, "nodes", n.Name}, elements...)...)
}

// Host is the node's network: its namespace, and its cable.
func (n *Node) Host() *hosts.Host { return n.host }

// BootID is what the kernel seems to call the node's present boot: new with
// each start.
func (n *Node) BootID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bootID
}

// State is "on", "paused" or "off".
func (n *Node) State() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.on():
		return "off"
	case n.paused:
		return "paused"
	default:
		return "on"
	}
}

func (n *Node) on() bool { return n.process != nil && n.process.Running() }

// Start switches the node on. Its disk is as it was; /run, the boot id and its
// network are new. It does not wait for the kubelet: see WaitBooted.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.on() {
		return nil
	}
	if n.used {
		if err := n.host.Renew(); err != nil {
			return err
		}
	}
	n.used = true
	if err := n.boot(ctx); err != nil {
		return fmt.Errorf("starting %s: %w", n.Name, err)
	}
	return nil
}

// Stop is a power cut: every process of the node is killed at once.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return nil
	}
	// The dead do not leave a freezer: first the signal, then the thaw.
	if err := n.process.Signal(os.Kill); err != nil {
		return err
	}
	if n.paused {
		if err := freeze(ctx, n.cgroups, false); err != nil {
			return fmt.Errorf("thawing %s: %w", n.Name, err)
		}
		n.paused = false
	}
	select {
	case <-n.process.Done():
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of %s: %w", n.Name, ctx.Err())
	}
	if !n.finishedImports() {
		n.imported = map[string]bool{}
	}
	n.process = nil
	n.host.Close()
	return n.cluster.hierarchies.remove(ctx, filepath.Join(n.cluster.name, n.Name))
}

// finishedImports says whether the present boot came as far as the kubelet,
// which comes after them.
func (n *Node) finishedImports() bool {
	log, err := os.Stat(filepath.Join(n.Logs(), "kubelet.log"))
	return err == nil && log.ModTime().After(n.bootedAt)
}

// Reboot is Stop and Start.
func (n *Node) Reboot(ctx context.Context) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Reimage is a new installation under the old name: the disk is wiped while
// the node is off.
func (n *Node) Reimage(ctx context.Context) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(n.disk()); err != nil {
		return fmt.Errorf("wiping the disk of %s: %w", n.Name, err)
	}
	n.mu.Lock()
	n.imported = map[string]bool{}
	n.mu.Unlock()
	return n.Start(ctx)
}

// errOff is the answer to what needs a running node.
var errOff = errors.New("the node is off")

// Cut pulls the node's cable out; it runs on by itself.
func (n *Node) Cut() error { return n.host.Cut() }

// Join plugs it in again.
func (n *Node) Join() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.on() {
		return fmt.Errorf("%s: %w, and starts with its cable in", n.Name, errOff)
	}
	return n.host.Heal()
}

// Pause stops every process of the node, as when a virtual machine's host hangs.
func (n *Node) Pause(ctx context.Context) error { return n.setPaused(ctx, true) }

// Resume lets them go on.
func (n *Node) Resume(ctx context.Context) error { return n.setPaused(ctx, false) }

func (n *Node) setPaused(ctx context.Context, paused bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.on() {
		return fmt.Errorf("%s: %w", n.Name, errOff)
	}
	if err := freeze(ctx, n.cgroups, paused); err != nil {
		return fmt.Errorf("pausing or resuming %s: %w", n.Name, err)
	}
	n.paused = paused
	return nil
}

// newBootID makes one as the kernel does.
func newBootID() string { return uuid.NewString() }

// patience is how long a shared machine may take for what usually takes
// seconds.
const patience = 3 * time.Minute
