// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// attaching is one Attach on its way.
type attaching struct {
	w    *worker
	req  AttachRequest
	node nodeState
	name string
	// alias is the record that the host side carries.
	alias           string
	ns              int
	mtu             int
	index           int // the host side's
	podIndex        int
	hostMAC, podMAC net.HardwareAddr
	// crash is called between the steps; tests stop there.
	crash func(step string) error
}

// Attach gives a pod its interface. It may be repeated; failure leaves nothing
// behind.
func (k *Kernel) Attach(req AttachRequest) (Interfaces, error) {
	if err := req.validate(); err != nil {
		return Interfaces{}, err
	}
	alias, err := formatAlias(Attachment{Network: req.Network, Sandbox: req.Sandbox, IfName: req.IfName, Pod: req.Pod, Addresses: req.Addresses})
	if err != nil {
		return Interfaces{}, err
	}
	node, err := k.prepared(req.Addresses)
	if err != nil {
		return Interfaces{}, err
	}
	ns, err := k.openPod(req.NetNS)
	if err != nil {
		return Interfaces{}, err
	}
	defer func() { _ = unix.Close(ns) }()

	a := attaching{req: req, node: node, alias: alias, ns: ns, mtu: req.MTU, crash: k.crash}
	a.name = hostName(k.opts.Prefix, req.Network, req.Sandbox, req.IfName)
	a.hostMAC, a.podMAC = macs(req.Network, req.Sandbox, req.IfName)
	if a.mtu == 0 {
		a.mtu = node.mtu
	}
	defer k.lockPod(a.name)()
	err = k.do(func(w *worker) error {
		a.w = w
		return a.run(k.opts)
	})
	if err != nil {
		return Interfaces{}, fmt.Errorf("attaching %s: %w", req.IfName, err)
	}
	return a.result(), nil
}

func (a *attaching) result() Interfaces {
	out := Interfaces{HostIf: a.name, HostMAC: a.hostMAC.String(), ContainerMAC: a.podMAC.String(), MTU: a.mtu}
	for _, addr := range a.req.Addresses {
		if addr.Is4() {
			out.Gateway4 = gateway4
		} else {
			out.Gateway6 = gateway6
		}
	}
	return out
}

// ErrNotPodNamespace is in the error of an Attach to a path at which there is
// something else than a pod's network namespace.
var ErrNotPodNamespace = errors.New("this is not a pod's network namespace")

// openPod opens the pod's network namespace, and refuses the host's own.
func (k *Kernel) openPod(path string) (int, error) {
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("opening the pod's network namespace %s: %w", path, err)
	}
	var pod, host unix.Stat_t
	if kind, e := unix.IoctlRetInt(ns, unix.NS_GET_NSTYPE); e != nil || kind != unix.CLONE_NEWNET {
		err = fmt.Errorf("%s: %w", path, ErrNotPodNamespace)
	} else if err = errors.Join(unix.Fstat(ns, &pod), unix.Fstat(k.hostNS, &host)); err == nil && pod.Dev == host.Dev && pod.Ino == host.Ino {
		err = fmt.Errorf("%s: %w: it is the host's own, and a pod in that needs no interface", path, ErrNotPodNamespace)
	}
	if err != nil {
		_ = unix.Close(ns)
		return 0, err
	}
	return ns, nil
}

func (a *attaching) run(opts Options) error {
	reuse, err := a.existing(opts)
	if err != nil {
		return err
	}
	if !reuse {
		if err := a.create(); err != nil {
			return err
		}
	}
	err = a.configure(reuse)
	if err != nil && !reuse && !errors.Is(err, errCrash) {
		// Whatever was done goes with the link.
		err = errors.Join(err, a.w.host.deleteLink(a.index))
	}
	return err
}

// configure goes from a bare pair of links to a pod that is reached. The route
// is last.
func (a *attaching) configure(again bool) error {
	if err := a.crash("created"); err != nil {
		return err
	}
	if err := a.record(); err != nil {
		return err
	}
	if err := a.crash("recorded"); err != nil {
		return err
	}
	if err := a.w.inside(a.ns, a.pod); err != nil {
		return err
	}
	if err := a.crash("pod configured"); err != nil {
		return err
	}
	return a.route(again)
}

// existing looks for what an earlier call left: it says whether that can be
// used, and takes it away if it cannot.
func (a *attaching) existing(opts Options) (reuse bool, err error) {
	l, err := a.w.host.linkByName(a.name)
	if err != nil || l == nil {
		return false, err
	}
	old, ours := opts.attachment(*l)
	if !ours {
		return false, fmt.Errorf("interface %s exists and is not ours: delete or rename it", a.name)
	}
	if len(old.Addresses) > 0 && !old.Dying {
		if !slices.Equal(old.Addresses, a.req.Addresses) {
			return false, fmt.Errorf("interface %s is on record with %v and cannot become one with %v: detach it first", a.name, old.Addresses, a.req.Addresses)
		}
		if reuse, err = a.peered(*l); reuse || err != nil {
			return reuse, err
		}
	}
	return false, a.w.host.deleteLink(l.index)
}

// peered says whether the other end of a host link is where it should be.
func (a *attaching) peered(l link) (bool, error) {
	var other *link
	err := a.w.inside(a.ns, func(s *socket) (err error) {
		other, err = s.linkByName(a.req.IfName)
		return err
	})
	if err != nil || other == nil || other.peer != l.index || other.index != l.peer {
		return false, err
	}
	a.index, a.podIndex, a.mtu = l.index, other.index, l.mtu
	return true, nil
}

// createTries is how often indexes are drawn: two drawn alike are rare, and
// what stands in the way three times has the interface's name.
const createTries = 3

// create makes the pair, its pod end in place and under its final name: moving
// it there would cost a grace period of the kernel's.
func (a *attaching) create() error {
	var err error
	for range createTries {
		// Indexes are chosen, which saves asking for them.
		a.index, a.podIndex = 1<<16+rand.IntN(1<<30), 1<<16+rand.IntN(1<<30)
		err = a.w.host.send(a.pair())
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("the pod's network namespace has an interface %s already, and it is not this attachment's", a.req.IfName)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel has no veth interfaces: load or build the module veth: %w", err)
	default:
		return fmt.Errorf("creating the interfaces: %w", err)
	}
}

func (a *attaching) pair() *message {
	m := linkMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, a.index)
	m.text(unix.IFLA_IFNAME, a.name)
	a.common(m, a.hostMAC)
	m.number(unix.IFLA_GROUP, liveGroup)
	info := m.nest(unix.IFLA_LINKINFO)
	m.text(unix.IFLA_INFO_KIND, "veth")
	data := m.nest(unix.IFLA_INFO_DATA)
	peer := m.nest(vethInfoPeer)
	header := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(header[4:], uint32(a.podIndex))
	m.buf = append(m.buf, header...)
	m.text(unix.IFLA_IFNAME, a.req.IfName)
	a.common(m, a.podMAC)
	m.number(unix.IFLA_NET_NS_FD, a.ns)
	peer()
	data()
	info()
	return m
}

// vethInfoPeer is VETH_INFO_PEER of linux/veth.h.
const vethInfoPeer = 1

// common is what both ends have. One queue: by default there would be one a
// processor, each with directories in sysfs.
func (a *attaching) common(m *message, mac net.HardwareAddr) {
	m.attr(unix.IFLA_ADDRESS, mac)
	m.number(unix.IFLA_MTU, a.mtu)
	m.number(unix.IFLA_NUM_TX_QUEUES, 1)
	m.number(unix.IFLA_NUM_RX_QUEUES, 1)
}

// record writes the alias and brings the host side up, which has no address of
// its own, not even a link-local one.
func (a *attaching) record() error {
	err := a.w.host.send(linkMessage(unix.RTM_SETLINK, 0, a.index).attr(unix.IFLA_IFALIAS, []byte(a.alias)), quietMessage(a.index))
	if err != nil {
		return fmt.Errorf("recording the addresses in the alias of %s: %w", a.name, err)
	}
	return a.w.host.send(linkMessage(unix.RTM_NEWLINK, 0, a.index).up())
}

// pod configures the pod's side: address, next hop, default route.
func (a *attaching) pod(s *socket) error {
	const replace = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	messages := []*message{linkMessage(unix.RTM_NEWLINK, 0, a.podIndex).up()}
	for _, addr := range a.req.Addresses {
		messages = append(messages,
			addressMessage(unix.RTM_NEWADDR, replace, a.podIndex, addr),
			neighbourMessage(unix.RTM_NEWNEIGH, replace, a.podIndex, gatewayOf(addr), a.hostMAC),
			a.podRoute(addr, netip.PrefixFrom(anyOf(addr), 0)))
	}
	failures, err := s.sendAll(messages)
	if err != nil {
		return err
	}
	for _, f := range failures {
		err = errors.Join(err, a.podFailure(s, f))
	}
	return err
}

func (a *attaching) podRoute(addr netip.Addr, dst netip.Prefix) *message {
	return routeMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		routeSpec{dst: dst, kind: unix.RTN_UNICAST, via: gatewayOf(addr), oif: a.podIndex, onlink: true})
}

// podFailure says what a refusal inside the pod means, or puts it right.
func (a *attaching) podFailure(s *socket, f *failure) error {
	if f.index == 0 {
		return fmt.Errorf("bringing the pod's %s up: %w", a.req.IfName, f)
	}
	addr := a.req.Addresses[(f.index-1)/3]
	switch step := (f.index - 1) % 3; {
	case step == 2 && errors.Is(f, unix.EEXIST):
		// Another interface has the default route: this one leads to the pools.
		return a.poolRoutes(s, addr)
	case addr.Is6() && (errors.Is(f, unix.EACCES) || errors.Is(f, unix.EAFNOSUPPORT) || errors.Is(f, unix.EOPNOTSUPP)):
		return fmt.Errorf("IPv6 is disabled in the pod's network namespace, and the pod was to have %s: "+
			"set net.ipv6.conf.default.disable_ipv6=0 on the node, or give it no IPv6 pool: %w", addr, f)
	default:
		return fmt.Errorf("giving the pod %s: %w", addr, f)
	}
}

func (a *attaching) poolRoutes(s *socket, addr netip.Addr) error {
	var messages []*message
	for _, p := range a.node.pools {
		if p.Addr().Is4() == addr.Is4() {
			messages = append(messages, a.podRoute(addr, p).unless(unix.EEXIST))
		}
	}
	if len(messages) == 0 {
		return nil
	}
	return s.send(messages...)
}

// route makes the pod reachable.
func (a *attaching) route(again bool) error {
	for _, addr := range a.req.Addresses {
		flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL)
		if again {
			flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
		}
		err := a.w.host.send(hostSide(flags, a.index, addr, a.podMAC, a.node.source(addr))...)
		if errors.Is(err, unix.EINVAL) {
			// The node has lost the address that was to be the source; Set will
			// name the new one.
			err = a.w.host.send(hostSide(flags, a.index, addr, a.podMAC, netip.Addr{})...)
		}
		if errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("address %s is routed elsewhere already: another interface has it, or another program's route leads to it: %w", addr, err)
		}
		if err != nil {
			return fmt.Errorf("routing %s to the pod: %w", addr, err)
		}
		if err := a.crash("routed"); err != nil {
			return err
		}
	}
	return nil
}

// hostSide is what the host needs to reach a pod's address: how and who.
func hostSide(flags uint16, index int, addr netip.Addr, pod net.HardwareAddr, src netip.Addr) []*message {
	return []*message{
		neighbourMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, index, addr, pod),
		routeMessage(unix.RTM_NEWROUTE, flags, podRouteSpec(index, addr, src)),
	}
}

func podRouteSpec(index int, addr, src netip.Addr) routeSpec {
	r := routeSpec{dst: netip.PrefixFrom(addr, addr.BitLen()), kind: unix.RTN_UNICAST, oif: index, src: src}
	if addr.Is4() {
		r.scope = unix.RT_SCOPE_LINK
	}
	return r
}

func gatewayOf(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return gateway4
	}
	return gateway6
}

func anyOf(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// quietMessage keeps a link from making itself a link-local address. A host
// without IPv6 refuses it, rightly.
func quietMessage(index int) *message {
	m := linkMessage(unix.RTM_SETLINK, 0, index).unless(unix.EAFNOSUPPORT)
	spec := m.nest(unix.IFLA_AF_SPEC)
	inet6 := m.nest(unix.AF_INET6)
	m.attr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{addrGenNone})
	inet6()
	spec()
	return m
}

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenNone = 1
