// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

// protocol is in every route of Selvage's, and in no other.
const protocol = 115

func (c *collector) links() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("reading the interfaces: %w", err)
	}
	mtu := map[string]int{}
	for _, l := range links {
		a := l.Attrs()
		link := diagnosis.Link{Name: a.Name, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
		if v, ok := l.(*netlink.Vxlan); ok {
			link.VXLAN, link.Port, link.VNI = true, v.Port, v.VxlanId
		}
		c.Links = append(c.Links, link)
		mtu[a.Name] = a.MTU
	}
	for i := range c.Attachments {
		c.Attachments[i].MTU = mtu[c.Attachments[i].Interface]
	}
	return nil
}

func (c *collector) routes() error {
	routes, err := mainRoutes()
	if err != nil {
		return err
	}
	names := map[int]string{}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("reading the interfaces: %w", err)
	}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, r := range routes {
		to, ok := destination(r)
		if !ok {
			continue
		}
		c.Routes = append(c.Routes, diagnosis.Route{
			To: to, Device: cmp.Or(names[r.LinkIndex], "no interface"), Ours: r.Protocol == protocol,
			Blackhole: r.Type == unix.RTN_BLACKHOLE, Metric: r.Priority,
		})
	}
	return nil
}

func mainRoutes() ([]netlink.Route, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("reading the routes: %w", err)
	}
	return routes, nil
}

// destination is a route's, and false for what is not of one address or range
// of hosts.
func destination(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	to, ok := netipx.FromStdIPNet(r.Dst)
	return to, ok && !to.Addr().IsLinkLocalUnicast() && !to.Addr().IsMulticast()
}

// underlay asks the kernel how it reaches each peer, and where the peer's
// packets come in: at the address that the tunnels end at.
func (c *collector) underlay() error {
	peers, err := c.peers()
	if err != nil {
		return err
	}
	var in map[netip.Addr]string
	if in, err = owners(); err != nil {
		return err
	}
	local, err := c.local()
	if err != nil {
		return err
	}
	for _, peer := range slices.SortedFunc(maps.Keys(peers), netip.Addr.Compare) {
		ways, err := netlink.RouteGet(peer.AsSlice())
		if err != nil || len(ways) == 0 {
			c.Underlay = append(c.Underlay, diagnosis.Path{Peer: peer})
			continue
		}
		path := diagnosis.Path{Peer: peer, MTU: ways[0].MTU}
		if l, err := netlink.LinkByIndex(ways[0].LinkIndex); err == nil {
			path.Out = l.Attrs().Name
			path.MTU = cmp.Or(path.MTU, l.Attrs().MTU)
		}
		source, _ := netipx.FromStdIP(ways[0].Src)
		if local.IsValid() && local.Is4() == peer.Is4() {
			source = local
		}
		path.In = in[source]
		c.Underlay = append(c.Underlay, path)
	}
	return nil
}

// local is where the tunnels end here.
func (c *collector) local() (netip.Addr, error) {
	l, err := netlink.LinkByName(c.Options.Device)
	if v, ok := l.(*netlink.Vxlan); err == nil && ok {
		a, _ := netipx.FromStdIP(v.SrcAddr)
		return a, nil
	}
	return netip.Addr{}, nil
}

// owners are the interfaces that have each address.
func owners() (map[netip.Addr]string, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("reading the addresses: %w", err)
	}
	by := map[netip.Addr]string{}
	for _, a := range all {
		address, _ := netipx.FromStdIP(a.IP)
		if l, err := netlink.LinkByIndex(a.LinkIndex); err == nil {
			by[address] = l.Attrs().Name
		}
	}
	return by, nil
}

// peers are the underlay addresses of the peers that this node routes to, and
// with each the first addresses of its ranges: one of them is the peer's own.
func (c *collector) peers() (map[netip.Addr][]netip.Addr, error) {
	routes, err := mainRoutes()
	if err != nil {
		return nil, err
	}
	ends, err := c.ends()
	if err != nil {
		return nil, err
	}
	by := map[netip.Addr][]netip.Addr{}
	for _, r := range routes {
		to, ok := destination(r)
		if !ok || r.Protocol != protocol || r.Type != unix.RTN_UNICAST {
			continue
		}
		gateway, ok := netipx.FromStdIP(r.Gw)
		if via, is := r.Via.(*netlink.Via); is {
			gateway, ok = netipx.FromStdIP(via.Addr)
		}
		if !ok || to.IsSingleIP() {
			continue // a pod's
		}
		if end, tunnelled := ends[gateway]; tunnelled {
			gateway = end
		}
		by[gateway] = append(by[gateway], to.Addr())
	}
	for _, all := range by {
		slices.SortFunc(all, netip.Addr.Compare)
	}
	return by, nil
}

// ends are the underlay addresses behind the next hops on the tunnel device:
// next hop → hardware address (neighbours) → underlay (forwarding database).
func (c *collector) ends() (map[netip.Addr]netip.Addr, error) {
	ends := map[netip.Addr]netip.Addr{}
	l, err := netlink.LinkByName(c.Options.Device)
	if err != nil {
		return ends, nil // no tunnels, or not yet: another check tells
	}
	entries, err := netlink.NeighList(l.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("reading the forwarding database: %w", err)
	}
	behind := map[string]netip.Addr{}
	for _, e := range entries {
		if to, ok := netipx.FromStdIP(e.IP); ok {
			behind[e.HardwareAddr.String()] = to
		}
	}
	neighbours, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("reading the neighbours: %w", err)
	}
	for _, n := range neighbours {
		hop, ok := netipx.FromStdIP(n.IP)
		if to, known := behind[n.HardwareAddr.String()]; ok && known {
			ends[hop] = to
		}
	}
	return ends, nil
}
