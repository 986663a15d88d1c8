// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Underlay says what to report to the other peers: those of the node's
// addresses that this host has, the one that tunnels use first, and the
// hardware address of its VTEP (of its network card where direct traffic is
// taken).
func (k *Kernel) Underlay(nodeAddrs []netip.Addr) (addrs []netip.Addr, mac string, err error) {
	err = k.do(func(w *worker) error {
		r := reading{s: w.host, opts: k.options()}
		if err := r.links(); err != nil {
			return err
		}
		addrs, mac, err = r.opts.report(nodeAddrs, r.state.interfaces)
		return err
	})
	return addrs, mac, err
}

// options are the Kernel's, with what has been found to be lacking.
func (k *Kernel) options() Options {
	opts := k.opts
	if l := k.lacks.Load(); l != nil {
		opts.lacks = *l
	}
	return opts
}

// Set brings the kernel to the desired state: it reads, plans and applies. It
// is idempotent and is to be called again from time to time, since others
// (network managers, people) change the kernel too.
//
// A peer that cannot be reached is an error, but keeps nothing else from being
// done. If the receive filter cannot be brought up to date nothing else is.
func (k *Kernel) Set(d Desired) error {
	if err := d.validate(); err != nil {
		return err
	}
	k.set.Lock()
	defer k.set.Unlock()
	if err := k.forwardAll(d); err != nil {
		return err
	}
	return k.do(func(w *worker) error {
		opts := k.options()
		r, problems, err := k.setOnce(w, opts, d)
		if lacks, found := k.findLacking(r, err); found {
			opts.lacks = lacks
			k.lacks.Store(&lacks)
			_, problems, err = k.setOnce(w, opts, d)
		}
		return setError(err, problems)
	})
}

// setOnce reads, plans and applies. Problems are what was left out of the plan.
func (k *Kernel) setOnce(w *worker, opts Options, d Desired) (r *reading, problems, err error) {
	r, err = k.read(w.host, opts)
	if err != nil {
		return nil, nil, err
	}
	goal, problems := goalOf(opts, d, r.state)
	if goal.device == nil {
		return r, nil, problems // nothing was done: no mere peer's problem
	}
	k.node.Store(d.nodeState(goal.device.mtu))
	a := applying{k: k, w: w, reading: r}
	return r, problems, a.run(plan(r.state, goal, d.Complete))
}

// forwardAll makes sure that the host forwards the families that are in use.
func (k *Kernel) forwardAll(d Desired) error {
	for _, six := range []bool{false, true} {
		of := func(p netip.Prefix) bool { return p.Addr().Is6() == six }
		used := slices.ContainsFunc(d.Own, of) || slices.ContainsFunc(d.Pools, of)
		if !used {
			continue
		}
		if err := k.forward(six); err != nil {
			return err
		}
	}
	return nil
}

// applying carries a plan out.
type applying struct {
	k *Kernel
	w *worker
	*reading
	// queue are steps that are single messages and have yet to be sent.
	queue    []step
	messages []*message
	// pods are the steps about pods' routes.
	pods []step
	errs []error
}

// run does the steps in order. It stops where going on would be wrong: with
// what must not be heard still heard, or without the device.
func (a *applying) run(steps []step) error {
	for _, s := range steps {
		if a.onPod(s) {
			a.pods = append(a.pods, s)
			continue
		}
		if m := a.message(s); m != nil {
			a.queue, a.messages = append(a.queue, s), append(a.messages, m)
			continue
		}
		if err := a.flush(); err != nil {
			return err
		}
		if err := a.special(s); err != nil {
			return errors.Join(append(a.errs, fmt.Errorf("%s: %w", s.op, err))...)
		}
	}
	err := a.flush()
	a.repair()
	return errors.Join(append(a.errs, err)...)
}

// flush sends what is queued. A refusal is kept and keeps nothing up.
func (a *applying) flush() error {
	failures, err := a.s.sendAll(a.messages)
	for _, f := range failures {
		a.errs = append(a.errs, fmt.Errorf("%s: %w", a.queue[f.index], explain(a.queue[f.index], f)))
	}
	a.queue, a.messages = nil, nil
	return err
}

// explain adds what to do about a refusal.
func explain(s step, err error) error {
	switch {
	case s.op == routeAdd && errors.Is(err, unix.EEXIST):
		return fmt.Errorf("another program's route to %s stands in the way, see `ip route show %[1]s`: remove it, or choose another pool: %w", s.route.dst, err)
	case s.op == addressAdd && s.address.Is6() && errors.Is(err, unix.EACCES):
		return fmt.Errorf("IPv6 is disabled on the node's new interfaces: set net.ipv6.conf.default.disable_ipv6=0: %w", err)
	default:
		return err
	}
}

// onPod says whether a step is about a pod's route.
func (a *applying) onPod(s step) bool {
	return !s.route.blackhole && s.route.dst.IsValid() && strings.HasPrefix(s.route.dev, a.opts.Prefix) && !s.route.via.IsValid()
}

// special does the steps that are not single messages.
func (a *applying) special(s step) error {
	switch s.op {
	case filterReplace:
		return a.filters.explainFilter(a.filters.replace(s.filter))
	case filterShrink, filterGrow:
		return a.filters.change(s.change)
	case deviceDelete:
		err := a.s.deleteLink(a.index[a.opts.Device])
		delete(a.index, a.opts.Device)
		return err
	case deviceCreate:
		return a.createDevice(s.device)
	case deviceChange:
		index := a.index[s.device.name]
		own := linkMessage(unix.RTM_NEWLINK, 0, index).number(unix.IFLA_MTU, s.device.mtu)
		if a.state.device.mac != s.device.mac { // even the same one would cost the neighbours
			own.attr(unix.IFLA_ADDRESS, mustMAC(s.device.mac))
		}
		return a.s.send(vxlanMessage(0, index, s.device), own, linkMessage(unix.RTM_NEWLINK, 0, index).up())
	default:
		return fmt.Errorf("unknown step")
	}
}

// createDevice makes the VXLAN device and brings it up. It gets no link-local
// address, and so has nothing to announce.
func (a *applying) createDevice(d device) error {
	m := vxlanMessage(unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, d)
	err := a.s.send(m.text(unix.IFLA_IFNAME, d.name).attr(unix.IFLA_ADDRESS, mustMAC(d.mac)).number(unix.IFLA_MTU, d.mtu))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel has no VXLAN: load or build the module vxlan: %w", err)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("another VXLAN device has port %d and network %d: choose others with --vxlan-port, or delete it: %w", d.port, d.vni, err)
	case err != nil:
		return fmt.Errorf("creating %s: %w", d, err)
	}
	l, err := a.s.linkByName(d.name)
	if err != nil || l == nil {
		return errors.Join(err, fmt.Errorf("%s went as soon as it was made", d.name))
	}
	a.index[d.name] = l.index
	err = a.s.send(quietMessage(l.index), linkMessage(unix.RTM_NEWLINK, 0, l.index).up())
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("another program has UDP port %d: choose another with --vxlan-port: %w", d.port, err)
	}
	return err
}

// vxlanMessage has what makes an interface a VXLAN device: all of it to create
// one (index 0), and what can be changed for one that there is.
func vxlanMessage(flags uint16, index int, d device) *message {
	m := linkMessage(unix.RTM_NEWLINK, flags, index)
	info := m.nest(unix.IFLA_LINKINFO)
	m.text(unix.IFLA_INFO_KIND, "vxlan")
	data := m.nest(unix.IFLA_INFO_DATA)
	local := uint16(unix.IFLA_VXLAN_LOCAL)
	if d.local.Is6() {
		local = unix.IFLA_VXLAN_LOCAL6
	}
	m.attr(local, d.local.AsSlice())
	if index == 0 {
		m.number(unix.IFLA_VXLAN_ID, d.vni)
		m.attr(unix.IFLA_VXLAN_PORT, []byte{byte(d.port >> 8), byte(d.port)})
		m.attr(unix.IFLA_VXLAN_LEARNING, []byte{0})
		if d.local.Is4() { // inner packets have checksums of their own
			m.attr(unix.IFLA_VXLAN_UDP_CSUM, []byte{0})
		}
	}
	data()
	info()
	return m
}

// message is a step as one message; nil if it takes more.
func (a *applying) message(s step) *message {
	const replace = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	dev := a.index[a.opts.Device]
	switch s.op {
	case addressAdd:
		return addressMessage(unix.RTM_NEWADDR, replace, dev, s.address)
	case addressDelete:
		return addressMessage(unix.RTM_DELADDR, 0, dev, s.address).unless(unix.EADDRNOTAVAIL)
	case forwardSet:
		return fdbMessage(unix.RTM_NEWNEIGH, replace, dev, mustMAC(s.forward.mac), s.forward.dst)
	case forwardDelete:
		return fdbMessage(unix.RTM_DELNEIGH, 0, dev, mustMAC(s.forward.mac), s.forward.dst).unless(unix.ENOENT)
	case neighbourSet:
		return neighbourMessage(unix.RTM_NEWNEIGH, replace, dev, s.neighbour.addr, mustMAC(s.neighbour.mac))
	case neighbourDel:
		return neighbourMessage(unix.RTM_DELNEIGH, 0, dev, s.neighbour.addr, mustMAC(s.neighbour.mac)).unless(unix.ENOENT)
	case routeAdd:
		return routeMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, a.spec(s.route))
	case routeReplace:
		return routeMessage(unix.RTM_NEWROUTE, replace, a.spec(s.route))
	case routeDelete:
		return routeMessage(unix.RTM_DELROUTE, 0, a.spec(s.route)).unless(unix.ESRCH)
	}
	return nil
}

// spec is a route by index.
func (a *applying) spec(r route) routeSpec {
	out := routeSpec{dst: r.dst, kind: unix.RTN_UNICAST, via: r.via, oif: a.index[r.dev], onlink: r.onlink, src: r.src, metric: r.metric}
	if r.blackhole {
		out.kind = unix.RTN_BLACKHOLE
	}
	if !r.blackhole && !r.via.IsValid() && r.dst.Addr().Is4() {
		out.scope = unix.RT_SCOPE_LINK
	}
	return out
}

// repair puts pods' routes right, while no pod comes or goes: a route of one
// that went meanwhile must not come back.
func (a *applying) repair() {
	if len(a.pods) == 0 {
		return
	}
	a.k.repair.Lock()
	defer a.k.repair.Unlock()
	for _, s := range a.pods {
		if err := a.repairOne(s); err != nil {
			a.errs = append(a.errs, fmt.Errorf("%s: %w", s, err))
		}
	}
}

func (a *applying) repairOne(s step) error {
	l, err := a.s.linkByName(s.route.dev)
	if err != nil || l == nil {
		return err // its routes went with it
	}
	now, ours := a.opts.attachment(*l)
	holds := ours && !now.Dying && now.Up && slices.Contains(now.Addresses, s.route.dst.Addr())
	switch {
	case holds == (s.op == routeDelete):
		return nil // what was read is no longer so: the next Set reads again
	case holds:
		return a.k.putBack(a.w, now)
	default:
		return a.s.send(routeMessage(unix.RTM_DELROUTE, 0, podRouteSpec(l.index, s.route.dst.Addr(), netip.Addr{})).unless(unix.ESRCH))
	}
}
