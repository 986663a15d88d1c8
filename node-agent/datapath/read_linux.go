// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// reading is the state as it was read, with what is needed to change it.
type reading struct {
	s       *socket
	opts    Options
	filters *nft
	state   state
	index   map[string]int
}

// read reads the state. Routes come before links: a pod that goes in between
// leaves a route to remove, which is harmless, and one that comes is taken for
// one without a route, which is looked at again before it is put right.
func (k *Kernel) read(s *socket, opts Options) (*reading, error) {
	filters, err := k.nft(opts)
	if err != nil {
		return nil, err
	}
	r := &reading{s: s, opts: opts, filters: filters}
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	if err := r.links(); err != nil {
		return nil, err
	}
	r.routes(routes)
	if r.state.device != nil {
		if err := r.entries(); err != nil {
			return nil, err
		}
	}
	r.state.filter, err = filters.read()
	return r, err
}

// links reads interfaces and their addresses.
func (r *reading) links() error {
	links, err := r.s.links("")
	if err != nil {
		return err
	}
	all, err := r.s.addresses()
	if err != nil {
		return err
	}
	r.index = map[string]int{}
	smallest := defaultUnderlayMTU
	for _, l := range links {
		r.index[l.name] = l.index
		if !l.loopback && l.up {
			smallest = min(smallest, l.mtu)
		}
	}
	for _, l := range links {
		if err := r.link(l, all, smallest); err != nil {
			return err
		}
	}
	return nil
}

// link sorts one interface in.
func (r *reading) link(l link, all []address, smallest int) error {
	if a, ours := r.opts.attachment(l); ours {
		if len(a.Addresses) > 0 {
			r.state.pods = append(r.state.pods, a)
		}
		return nil
	}
	var prefixes []netip.Prefix
	for _, a := range all {
		if a.index == l.index && a.scope < unix.RT_SCOPE_LINK {
			prefixes = append(prefixes, a.prefix)
		}
	}
	if l.name == r.opts.Device {
		if l.kind != "vxlan" {
			return fmt.Errorf("interface %s exists and is not a VXLAN device: delete or rename it", l.name)
		}
		r.state.device = parseDevice(l)
		for _, p := range prefixes {
			r.state.addresses = append(r.state.addresses, p.Addr())
		}
		return nil
	}
	i := hostInterface{name: l.name, mtu: l.mtu, prefixes: prefixes}
	if l.loopback { // an address on it is reached through the others
		i.mtu = smallest
	} else if len(l.mac) == 6 {
		i.mac = l.mac.String()
	}
	r.state.interfaces = append(r.state.interfaces, i)
	return nil
}

func parseDevice(l link) *device {
	d := &device{name: l.name, mac: l.mac.String(), mtu: l.mtu, up: l.up}
	attributes(l.vxlan, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_VXLAN_ID:
			d.vni = number(v)
		case unix.IFLA_VXLAN_PORT:
			if len(v) == 2 {
				d.port = int(v[0])<<8 | int(v[1])
			}
		case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
			d.local, _ = netip.AddrFromSlice(v)
		case unix.IFLA_VXLAN_LEARNING:
			d.learning = slices.Equal(v, []byte{1})
		}
	})
	return d
}

// routes names the interfaces that routes lead through.
func (r *reading) routes(specs []routeSpec) {
	names := map[int]string{}
	for name, index := range r.index {
		names[index] = name
	}
	for _, s := range specs {
		out := route{dst: s.dst, via: s.via, onlink: s.onlink, src: s.src, metric: s.metric}
		out.blackhole = s.kind == unix.RTN_BLACKHOLE
		if !out.blackhole { // IPv6 shows such routes on the loopback
			out.dev = names[s.oif]
			if out.dev == "" {
				continue // it went between the two readings, and its routes with it
			}
		}
		if s.dst.Addr().Is6() && out.metric == defaultMetric6 {
			out.metric = 0
		}
		r.state.routes = append(r.state.routes, out)
	}
}

// defaultMetric6 is what the kernel gives an IPv6 route without a metric.
const defaultMetric6 = 1024

// entries reads the device's neighbours and where it sends frames.
func (r *reading) entries() error {
	index := r.index[r.opts.Device]
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		m := newMessage(unix.RTM_GETNEIGH, 0, unix.SizeofNdMsg)
		m.buf[unix.NLMSG_HDRLEN] = family
		m.number(unix.NDA_IFINDEX, index)
		bodies, err := r.s.dump(m)
		if err != nil {
			return fmt.Errorf("reading the neighbours of %s: %w", r.opts.Device, err)
		}
		for _, body := range bodies {
			r.entry(body, index)
		}
	}
	return nil
}

func (r *reading) entry(body []byte, index int) {
	if len(body) < unix.SizeofNdMsg || int(native.Uint32(body[4:])) != index || native.Uint16(body[8:])&unix.NUD_PERMANENT == 0 {
		return
	}
	var dst netip.Addr
	var mac net.HardwareAddr
	attributes(body[unix.SizeofNdMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NDA_DST:
			dst, _ = netip.AddrFromSlice(v)
		case unix.NDA_LLADDR:
			mac = append(mac, v...)
		}
	})
	switch {
	case len(mac) != 6 || !dst.IsValid():
	case body[0] == unix.AF_BRIDGE:
		r.state.forwards = append(r.state.forwards, forward{mac: mac.String(), dst: dst})
	default:
		r.state.neighbours = append(r.state.neighbours, neighbour{addr: dst, mac: mac.String()})
	}
}
