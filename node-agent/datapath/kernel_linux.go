// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Kernel is the datapath of the host it was opened in. All methods are safe for
// concurrent use.
type Kernel struct {
	opts   Options
	hostNS int
	jobs   chan job
	closed chan struct{}
	once   sync.Once
	// running counts the goroutines that Close waits for.
	running sync.WaitGroup
	// dying wakes the reaper.
	dying chan struct{}
	// pods holds one key's calls apart: a lock for each of a few classes of keys.
	pods [64]sync.Mutex
	// repair is held, for writing, while Set puts pod routes back: between its
	// reading and its writing no pod may go.
	repair sync.RWMutex
	// set lets one Set run at a time.
	set sync.Mutex
	// node is what Attach needs to know of the last Set.
	node atomic.Pointer[nodeState]
	// forwarded says which families' forwarding has been seen to be on.
	forwarding sync.Mutex
	forwarded  [2]bool
	// missing and lacks are what the kernel was found to lack.
	missing atomic.Pointer[[]string]
	lacks   atomic.Pointer[lacking]
	// watchBuffer is the receive buffer of watches: what overruns it costs another
	// dump.
	watchBuffer int
	// crash stops tests between the steps of a change.
	crash func(step string) error
}

// nodeState is the part of the node's state that every pod's routes depend on.
type nodeState struct {
	mtu     int
	sources []netip.Addr
	pools   []netip.Prefix
}

// source is the address that the node speaks to a pod from.
func (n *nodeState) source(pod netip.Addr) netip.Addr {
	at := slices.IndexFunc(n.sources, func(a netip.Addr) bool { return a.Is4() == pod.Is4() })
	if at < 0 {
		return netip.Addr{}
	}
	return n.sources[at]
}

// errCrash is what tests stop a change with.
var errCrash = errors.New("crashed")

// Open prepares the datapath in the caller's network namespace (or that of
// opts.NetNS), and finishes what an earlier process left dying.
func Open(opts Options) (*Kernel, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	path := opts.NetNS
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the host's network namespace %s: %w", path, err)
	}
	k := &Kernel{
		opts: opts, hostNS: ns, jobs: make(chan job), closed: make(chan struct{}), dying: make(chan struct{}, 1),
		watchBuffer: 4 << 20,
		crash:       func(string) error { return nil },
	}
	if err := k.start(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Kernel) start() error {
	for range workers() {
		if err := k.startWorker(); err != nil {
			return err
		}
	}
	var reaper *socket
	err := k.do(func(w *worker) (err error) {
		if err := w.host.deleteGroup(dyingGroup); err != nil {
			return explainPermission(err)
		}
		node, err := w.host.firstNodeState(k.opts)
		if err != nil {
			return err
		}
		k.node.Store(node)
		reaper, err = openSocket()
		return err
	})
	if err != nil {
		return err
	}
	k.running.Add(1)
	go k.reap(reaper)
	return nil
}

func explainPermission(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("the datapath needs the capability CAP_NET_ADMIN in the host's network namespace: %w", err)
	}
	return err
}

// Close gives up the handles. It changes nothing in the kernel, but for ending
// what is dying: pods keep talking.
func (k *Kernel) Close() error {
	k.once.Do(func() {
		close(k.closed)
		k.running.Wait()
		_ = unix.Close(k.hostNS)
	})
	return nil
}

func (k *Kernel) isClosed() bool {
	select {
	case <-k.closed:
		return true
	default:
		return false
	}
}

// lockPod lets no other call work on this host interface, nor Set on any; the
// result undoes it.
func (k *Kernel) lockPod(name string) (unlock func()) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	m := &k.pods[h.Sum32()%uint32(len(k.pods))]
	m.Lock()
	k.repair.RLock()
	return func() {
		k.repair.RUnlock()
		m.Unlock()
	}
}

// prepared returns what an Attach needs, once the host forwards the families.
func (k *Kernel) prepared(addrs []netip.Addr) (nodeState, error) {
	for _, a := range addrs {
		if err := k.forward(a.Is6()); err != nil {
			return nodeState{}, err
		}
	}
	return *k.node.Load(), nil
}

// Missing lists, for people, features that this kernel lacks and that the
// datapath does without.
func (k *Kernel) Missing() []string {
	if m := k.missing.Load(); m != nil {
		return slices.Clone(*m)
	}
	return nil
}

// Lookup reads one attachment from the kernel; false if there is none, or it is
// dying.
func (k *Kernel) Lookup(network, sandbox, ifname string) (Attachment, bool, error) {
	var a Attachment
	var found bool
	err := k.do(func(w *worker) error {
		l, err := w.host.linkByName(hostName(k.opts.Prefix, network, sandbox, ifname))
		if err != nil || l == nil {
			return err
		}
		a, found = k.opts.attachment(*l)
		found = found && len(a.Addresses) > 0 && !a.Dying
		return nil
	})
	if !found {
		a = Attachment{}
	}
	return a, found, err
}

// Check verifies that an attachment is as Attach made it.
func (k *Kernel) Check(a Attachment) error {
	now, found, err := k.Lookup(a.Network, a.Sandbox, a.IfName)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("interface %s of sandbox %s is gone", a.IfName, a.Sandbox)
	}
	if len(a.Addresses) > 0 && !slices.Equal(now.Addresses, a.Addresses) {
		return fmt.Errorf("interface %s of sandbox %s has %v, not %v", a.IfName, a.Sandbox, now.Addresses, a.Addresses)
	}
	if !now.Up {
		return fmt.Errorf("interface %s of sandbox %s has been cut off", a.IfName, a.Sandbox)
	}
	return k.do(func(w *worker) error {
		routes, err := w.host.routes()
		if err != nil {
			return err
		}
		for _, addr := range now.Addresses {
			host := netip.PrefixFrom(addr, addr.BitLen())
			if !slices.ContainsFunc(routes, func(r routeSpec) bool { return r.dst == host && r.oif == now.Index }) {
				return fmt.Errorf("the route to %s through %s is missing", addr, now.HostIf)
			}
		}
		return nil
	})
}
