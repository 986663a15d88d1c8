// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Fake is a Kernel without a kernel, for tests. It plans as the real one does
// and keeps what the kernel would; String shows it. It is honest: what the
// kernel refuses it refuses, and the same tests are run over both.
type Fake struct {
	opts Options

	mu       sync.Mutex
	state    state
	node     nodeState
	next     int
	watchers []*fakeWatch
	// last is what was Set, and problems what was wrong with it, while nothing
	// has touched the state since: simulations set the same many times.
	last     *Desired
	problems error
}

type fakeWatch struct {
	ctx    context.Context
	onGone func(Attachment)
}

// NewFake returns a host with these addresses (with their networks' lengths) on
// one interface, eth0.
func NewFake(opts Options, addresses ...netip.Prefix) (*Fake, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Fake{opts: opts, next: 100}
	f.state.interfaces = []hostInterface{{name: "eth0", mtu: defaultUnderlayMTU, mac: "02:00:00:00:00:01", prefixes: addresses}}
	f.node.mtu = opts.podMTU(defaultUnderlayMTU, netip.Addr{})
	return f, nil
}

// Attach is Kernel.Attach. The network namespace is not looked at.
func (f *Fake) Attach(req AttachRequest) (Interfaces, error) {
	if err := req.validate(); err != nil {
		return Interfaces{}, err
	}
	a := Attachment{Network: req.Network, Sandbox: req.Sandbox, IfName: req.IfName, Pod: req.Pod, Addresses: req.Addresses, Up: true}
	alias, err := formatAlias(a)
	if err != nil {
		return Interfaces{}, err
	}
	if a, err = parseAlias(alias); err != nil {
		return Interfaces{}, err
	}
	a.Up, a.HostIf = true, hostName(f.opts.Prefix, a.Network, a.Sandbox, a.IfName)

	f.mu.Lock()
	defer f.mu.Unlock()
	work := attaching{req: req, name: a.HostIf, mtu: req.MTU}
	work.hostMAC, work.podMAC = macs(a.Network, a.Sandbox, a.IfName)
	if work.mtu == 0 {
		work.mtu = f.node.mtu
	}
	if old := f.find(a.HostIf); old >= 0 {
		if !slices.Equal(f.state.pods[old].Addresses, a.Addresses) {
			return Interfaces{}, fmt.Errorf("interface %s is on record with %v", a.HostIf, f.state.pods[old].Addresses)
		}
		return work.result(), nil
	}
	for _, addr := range a.Addresses {
		if slices.ContainsFunc(f.state.routes, func(r route) bool { return r.dst == netip.PrefixFrom(addr, addr.BitLen()) && r.metric == 0 }) {
			return Interfaces{}, fmt.Errorf("address %s is routed elsewhere already", addr)
		}
	}
	f.next++
	a.Index, f.last = f.next, nil
	f.state.pods = append(f.state.pods, a)
	f.state.routes = append(f.state.routes, f.podRoutes(a)...)
	return work.result(), nil
}

func (f *Fake) podRoutes(a Attachment) (routes []route) {
	for _, addr := range a.Addresses {
		routes = append(routes, route{dst: netip.PrefixFrom(addr, addr.BitLen()), dev: a.HostIf, src: f.node.source(addr)})
	}
	return routes
}

func (f *Fake) find(name string) int {
	return slices.IndexFunc(f.state.pods, func(a Attachment) bool { return a.HostIf == name })
}

// Detach is Kernel.Detach. The link is gone at once.
func (f *Fake) Detach(network, sandbox, ifname string) error {
	f.mu.Lock()
	at := f.find(hostName(f.opts.Prefix, network, sandbox, ifname))
	if at < 0 {
		f.mu.Unlock()
		return nil
	}
	a := f.state.pods[at]
	f.state.pods, f.last = slices.Delete(f.state.pods, at, at+1), nil
	f.unroute(a.HostIf)
	watchers := slices.Clone(f.watchers)
	f.mu.Unlock()
	a.Dying = true
	for _, w := range watchers {
		if w.ctx.Err() == nil {
			w.onGone(a)
		}
	}
	return nil
}

func (f *Fake) unroute(dev string) {
	f.state.routes = slices.DeleteFunc(f.state.routes, func(r route) bool { return r.dev == dev })
}

// Lookup is Kernel.Lookup.
func (f *Fake) Lookup(network, sandbox, ifname string) (Attachment, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.find(hostName(f.opts.Prefix, network, sandbox, ifname))
	if at < 0 {
		return Attachment{}, false, nil
	}
	return f.state.pods[at], true, nil
}

// Check is Kernel.Check.
func (f *Fake) Check(a Attachment) error {
	now, found, err := f.Lookup(a.Network, a.Sandbox, a.IfName)
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("interface %s of sandbox %s is gone", a.IfName, a.Sandbox)
	case len(a.Addresses) > 0 && !slices.Equal(now.Addresses, a.Addresses):
		return fmt.Errorf("interface %s of sandbox %s has %v, not %v", a.IfName, a.Sandbox, now.Addresses, a.Addresses)
	case !now.Up:
		return fmt.Errorf("interface %s of sandbox %s has been cut off", a.IfName, a.Sandbox)
	}
	return nil
}

// Watch is Kernel.Watch; reports come from the goroutine that calls Detach.
func (f *Fake) Watch(ctx context.Context, onGone func(Attachment)) ([]Attachment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = append(f.watchers, &fakeWatch{ctx, onGone})
	return slices.Clone(f.state.pods), nil
}

// Dump is Kernel.Dump.
func (f *Fake) Dump() ([]Attachment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.state.pods), nil
}

// CutOff is Kernel.CutOff.
func (f *Fake) CutOff(a Attachment, down bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.find(hostName(f.opts.Prefix, a.Network, a.Sandbox, a.IfName))
	if at < 0 {
		return nil
	}
	f.last = nil
	f.unroute(f.state.pods[at].HostIf)
	f.state.pods[at].Up = !down
	if !down {
		f.state.routes = append(f.state.routes, f.podRoutes(f.state.pods[at])...)
	}
	return nil
}

// Underlay is Kernel.Underlay.
func (f *Fake) Underlay(nodeAddrs []netip.Addr) ([]netip.Addr, string, error) {
	return f.opts.report(nodeAddrs, f.state.interfaces)
}

// Set is Kernel.Set.
func (f *Fake) Set(d Desired) error {
	if err := d.validate(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last != nil && reflect.DeepEqual(d, *f.last) {
		return f.problems
	}
	f.last = nil
	goal, problems := goalOf(f.opts, d, f.state)
	if goal.device == nil {
		return problems
	}
	for _, s := range plan(f.state, goal, d.Complete) {
		if err := f.state.apply(s); err != nil {
			return errors.Join(problems, fmt.Errorf("%s: %w", s, err))
		}
	}
	f.node = *d.nodeState(goal.device.mtu)
	d.Remotes = slices.Clone(d.Remotes)
	f.last, f.problems = &d, problems
	return problems
}

// Hears reports whether tunnel packets from that underlay address are taken in.
func (f *Fake) Hears(underlay netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.filter != nil && slices.Contains(f.state.filter.peers, underlay)
}

// Remove is Kernel.Remove.
func (f *Fake) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.last = state{interfaces: f.state.interfaces}, nil
	return nil
}

// Missing is Kernel.Missing.
func (f *Fake) Missing() []string { return nil }

// Close is Kernel.Close.
func (f *Fake) Close() error { return nil }

// String shows what the kernel would hold, sorted.
func (f *Fake) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.TrimSuffix(f.state.String(), "\n")
}
