// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// routes reads our routes, of both families.
func (s *socket) routes() ([]routeSpec, error) {
	var routes []routeSpec
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		m := newMessage(unix.RTM_GETROUTE, 0, unix.SizeofRtMsg)
		body := m.buf[unix.NLMSG_HDRLEN:]
		body[0], body[4], body[5] = family, unix.RT_TABLE_MAIN, routeProtocol
		bodies, err := s.dump(m)
		if err != nil {
			return nil, fmt.Errorf("reading the routes: %w", err)
		}
		for _, body := range bodies {
			if r, ours := parseRoute(body); ours {
				routes = append(routes, r)
			}
		}
	}
	return routes, nil
}

// parseRoute reads a route; false if it is not one of ours in the main table.
func parseRoute(body []byte) (routeSpec, bool) {
	if len(body) < unix.SizeofRtMsg || body[5] != routeProtocol || body[4] != unix.RT_TABLE_MAIN ||
		native.Uint32(body[8:])&unix.RTM_F_CLONED != 0 {
		return routeSpec{}, false
	}
	r := routeSpec{scope: body[6], kind: body[7], onlink: native.Uint32(body[8:])&unix.RTNH_F_ONLINK != 0}
	dst := netip.IPv4Unspecified()
	if body[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	attributes(body[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(v)
		case unix.RTA_GATEWAY:
			r.via, _ = netip.AddrFromSlice(v)
		case unix.RTA_VIA:
			if len(v) > 2 {
				r.via, _ = netip.AddrFromSlice(v[2:])
			}
		case unix.RTA_OIF:
			r.oif = number(v)
		case unix.RTA_PREFSRC:
			r.src, _ = netip.AddrFromSlice(v)
		case unix.RTA_PRIORITY:
			r.metric = number(v)
		}
	})
	r.dst = netip.PrefixFrom(dst, int(body[1]))
	return r, r.dst.IsValid()
}

// address is an address of an interface.
type address struct {
	index  int
	prefix netip.Prefix
	scope  byte
}

// addresses reads the addresses of all interfaces.
func (s *socket) addresses() ([]address, error) {
	m := newMessage(unix.RTM_GETADDR, 0, unix.SizeofIfAddrmsg)
	bodies, err := s.dump(m)
	if err != nil {
		return nil, fmt.Errorf("reading the addresses: %w", err)
	}
	var all []address
	for _, body := range bodies {
		if a, ok := parseAddress(body); ok {
			all = append(all, a)
		}
	}
	return all, nil
}

func parseAddress(body []byte) (address, bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return address{}, false
	}
	var local, addr netip.Addr
	attributes(body[unix.SizeofIfAddrmsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(v)
		}
	})
	if !local.IsValid() { // IPv6 says it once unless there is a peer
		local = addr
	}
	p := netip.PrefixFrom(local, int(body[1]))
	return address{index: int(native.Uint32(body[4:])), prefix: p, scope: body[3]}, p.IsValid()
}
