// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package hosts makes machines out of network namespaces: each has an
// underlay address of both families on a common switch, a link that can be
// cut, and pods' namespaces of its own. Nothing has a name and nothing is in
// the caller's namespaces, so nothing collides and nothing is left over, even
// after a kill -9.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// The subnets of the underlay. They exist in our namespaces alone.
var (
	DefaultSubnet = netip.MustParsePrefix("192.168.77.0/24")
	Subnet6       = netip.MustParsePrefix("fd77:5e1f::/64")
)

const (
	bridgeName = "switch"
	uplinkName = "eth0"
)

// Net is a switch and the hosts on it.
type Net struct {
	// Address and Address6 are the switch's own, where Forward listens.
	Address, Address6 netip.Addr

	prefix string
	subnet netip.Prefix
	space  *Namespace

	mu       sync.Mutex
	hosts    []*Host
	forwards []*Forward
	next     netip.Addr
	next6    netip.Addr
}

// New makes a switch. The prefix begins the names of its ports; the zero
// subnet is DefaultSubnet. It takes root, or a user namespace.
func New(ctx context.Context, prefix string, subnet netip.Prefix) (*Net, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !subnet.IsValid() {
		subnet = DefaultSubnet
	}
	space, err := newNamespace("switch")
	if err != nil {
		return nil, err
	}
	n := &Net{prefix: prefix, subnet: subnet, space: space}
	n.Address, n.Address6 = subnet.Masked().Addr().Next(), Subnet6.Addr().Next()
	n.next, n.next6 = n.Address, n.Address6
	if err := n.makeSwitch(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Net) makeSwitch() error {
	// Left to itself a bridge takes the lowest address of its ports: whenever a
	// port came or went, the hosts' neighbour entries for it would be wrong.
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, HardwareAddr: hardwareAddress(n.Address)}}
	if err := n.space.link.LinkAdd(bridge); err != nil {
		return fmt.Errorf("making the switch: %w", err)
	}
	err := n.space.configure(bridgeName, netip.PrefixFrom(n.Address, n.subnet.Bits()), netip.PrefixFrom(n.Address6, Subnet6.Bits()))
	if err != nil {
		return err
	}
	return n.space.closeDefault()
}

// Space is the switch's own namespace, for what is to run at its addresses.
func (n *Net) Space() *Namespace { return n.space }

// Close ends all hosts and what runs on them.
func (n *Net) Close() {
	n.mu.Lock()
	hosts, forwards := n.hosts, n.forwards
	n.hosts, n.forwards = nil, nil
	n.mu.Unlock()
	for _, f := range forwards {
		f.Close()
	}
	for _, h := range hosts {
		h.Close()
	}
	n.space.Close()
}

// Host is one machine.
type Host struct {
	*Namespace
	// Address and Address6 are its underlay addresses.
	Address, Address6 netip.Addr

	net  *Net
	port string

	mu   sync.Mutex
	pods []*Pod
}

// Host makes a machine and plugs it in.
func (n *Net) Host(name string) (*Host, error) {
	space, err := newNamespace(name, nameMachine(name))
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next, n.next6 = n.next.Next(), n.next6.Next()
	h := &Host{Namespace: space, Address: n.next, Address6: n.next6, net: n}
	h.port = fmt.Sprintf("%s%d", n.prefix, len(n.hosts)+1)
	if err := h.plugIn(); err != nil {
		h.Close()
		return nil, fmt.Errorf("making the host %s: %w", name, err)
	}
	n.hosts = append(n.hosts, h)
	return h, nil
}

func (h *Host) plugIn() error {
	ports := h.net.space.link
	bridge, err := ports.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("finding the switch: %w", err)
	}
	cable := netlink.NewVeth(netlink.LinkAttrs{Name: h.port, MasterIndex: bridge.Attrs().Index})
	cable.PeerName, cable.PeerNamespace = uplinkName, netlink.NsFd(h.file.Fd())
	cable.PeerHardwareAddr = hardwareAddress(h.Address)
	if err := ports.LinkAdd(cable); err != nil {
		return fmt.Errorf("making its cable %s: %w", h.port, err)
	}
	if err := h.Heal(); err != nil {
		return err
	}
	err = h.configure(uplinkName, netip.PrefixFrom(h.Address, h.net.subnet.Bits()), netip.PrefixFrom(h.Address6, Subnet6.Bits()))
	if err != nil {
		return err
	}
	return h.closeDefault()
}

// hardwareAddress is locally administered, and as lasting as a network card's:
// after a power cut the neighbours need not learn it anew.
func hardwareAddress(a netip.Addr) net.HardwareAddr {
	four := a.As4()
	return append(net.HardwareAddr{0x02, 0x77}, four[:]...)
}

// Cut pulls the host's cable out at the switch.
func (h *Host) Cut() error { return h.setPort((*netlink.Handle).LinkSetDown) }

// Heal plugs it in again.
func (h *Host) Heal() error { return h.setPort((*netlink.Handle).LinkSetUp) }

func (h *Host) setPort(set func(*netlink.Handle, netlink.Link) error) error {
	port, err := h.net.space.link.LinkByName(h.port)
	if err != nil {
		return fmt.Errorf("finding the cable %s of %s: %w", h.port, h.Name, err)
	}
	if err := set(h.net.space.link, port); err != nil {
		return fmt.Errorf("setting the cable %s of %s: %w", h.port, h.Name, err)
	}
	return nil
}

// Renew is what a power cut does to a machine's network: everything in the
// namespace is gone, processes too, and a fresh one is plugged in at the same
// port, with the same addresses. A cable that was pulled out is in again.
func (h *Host) Renew() error {
	h.Close()
	// The kernel removes a dead namespace's links when it comes to it.
	if port, err := h.net.space.link.LinkByName(h.port); err == nil {
		if err := h.net.space.link.LinkDel(port); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("removing the old cable %s of %s: %w", h.port, h.Name, err)
		}
	}
	space, err := newNamespace(h.Name, nameMachine(h.Name))
	if err != nil {
		return err
	}
	h.Namespace = space
	if err := h.plugIn(); err != nil {
		h.Close()
		return fmt.Errorf("renewing the host %s: %w", h.Name, err)
	}
	return nil
}

// Close ends the host: its processes are killed, its pods go too.
func (h *Host) Close() {
	h.mu.Lock()
	pods := h.pods
	h.pods = nil
	h.mu.Unlock()
	for _, p := range pods {
		p.Close()
	}
	h.Namespace.Close()
}

// Pod is a pod's network namespace, as a runtime makes it before it calls CNI
// ADD: with nothing but a loopback.
type Pod struct {
	*Namespace
	Host *Host
}

// NewPod makes a pod's namespace. Its Close is the runtime's removal of the
// namespace: DEL, if it is to be called, comes before.
func (h *Host) NewPod(name string) (*Pod, error) {
	space, err := newNamespace(name)
	if err != nil {
		return nil, err
	}
	p := &Pod{Namespace: space, Host: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pods = append(h.pods, p)
	return p, nil
}

// Namespace is a network namespace and the thread that lives in it.
type Namespace struct {
	// Name is what messages call it.
	Name string
	// NetNS is a path that any process can open while this one lives.
	NetNS string

	file    *os.File
	link    *netlink.Handle
	spawner *processes.Spawner

	mu      sync.Mutex
	sockets []net.PacketConn // an open socket keeps its namespace alive
	closed  bool
}

// nameMachine gives what runs on the thread a host name of its own.
func nameMachine(name string) func() error {
	return func() error {
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("giving the host %s its name: %w", name, err)
		}
		return unix.Sethostname([]byte(name))
	}
}

func newNamespace(name string, steps ...func() error) (*Namespace, error) {
	file, err := processes.NewNet()
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}
	spawner, err := processes.NewSpawner(append(steps, processes.EnterNet(file))...)
	if err != nil {
		file.Close()
		return nil, err
	}
	n := &Namespace{Name: name, NetNS: processes.NetPath(file), file: file, spawner: spawner}
	// On the namespace's own thread: to enter it and come back would take
	// rights over the caller's namespace, which a user namespace lacks.
	err = n.Do(func() (err error) {
		n.link, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("opening netlink in %s: %w", name, err)
	}
	if err := n.configure("lo"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// configure gives a device addresses and sets it up.
func (n *Namespace) configure(device string, addresses ...netip.Prefix) error {
	link, err := n.link.LinkByName(device)
	if err != nil {
		return fmt.Errorf("finding %s in %s: %w", device, n.Name, err)
	}
	for _, a := range addresses {
		ipnet := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		address := &netlink.Addr{IPNet: ipnet}
		if a.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD // nobody else has it, and waiting takes a second
		}
		if err := n.link.AddrAdd(link, address); err != nil {
			return fmt.Errorf("giving %s to %s of %s: %w", a, device, n.Name, err)
		}
	}
	if err := n.link.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s of %s up: %w", device, n.Name, err)
	}
	return nil
}

// Route sends packets for dst to a neighbour or, without one, asks for dst
// itself on the host's cable.
func (h *Host) Route(dst netip.Prefix, via netip.Addr) error { return h.route(uplinkName, dst, via) }

// Route makes the switch's namespace send to dst by way of a host.
func (n *Net) Route(dst netip.Prefix, via netip.Addr) error {
	return n.space.route(bridgeName, dst, via)
}

func (n *Namespace) route(device string, dst netip.Prefix, via netip.Addr) error {
	link, err := n.link.LinkByName(device)
	if err != nil {
		return fmt.Errorf("finding %s of %s: %w", device, n.Name, err)
	}
	route := &netlink.Route{
		Dst:       &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
		LinkIndex: link.Attrs().Index, Gw: via.AsSlice(),
	}
	if err := n.link.RouteReplace(route); err != nil {
		return fmt.Errorf("routing %s on %s: %w", dst, n.Name, err)
	}
	return nil
}

// closeDefault makes sure that no packet finds a way out of our namespaces.
func (n *Namespace) closeDefault() error {
	for _, everywhere := range []string{"0.0.0.0/0", "::/0"} {
		_, dst, err := net.ParseCIDR(everywhere)
		if err != nil {
			return err
		}
		route := &netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Priority: 1 << 20}
		if err := n.link.RouteAdd(route); err != nil {
			return fmt.Errorf("making %s unreachable from %s: %w", everywhere, n.Name, err)
		}
	}
	return nil
}

// Close ends what runs in the namespace and lets go of it: with nothing left
// inside, the kernel removes it and its links.
func (n *Namespace) Close() {
	n.mu.Lock()
	sockets, closed := n.sockets, n.closed
	n.sockets, n.closed = nil, true
	n.mu.Unlock()
	if closed {
		return
	}
	for _, s := range sockets {
		s.Close()
	}
	n.spawner.Close()
	if n.link != nil {
		n.link.Close()
	}
	n.file.Close()
}

// errClosed answers who opens sockets in a namespace that is gone.
var errClosed = errors.New("the namespace is closed")
