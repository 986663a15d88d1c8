// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A message is one rtnetlink request, built by hand: a pod costs about ten of
// them, and a library that makes each a tree of objects takes most of the time
// of an Attach.
type message struct {
	buf []byte
	// want is the error that counts as success, besides none.
	want unix.Errno
}

var native = binary.NativeEndian

func newMessage(typ, flags uint16, body int) *message {
	m := &message{buf: make([]byte, unix.NLMSG_HDRLEN+body, 192)}
	native.PutUint16(m.buf[4:], typ)
	native.PutUint16(m.buf[6:], flags|unix.NLM_F_REQUEST)
	return m
}

// seal writes the length and what tells the answer apart.
func (m *message) seal(seq uint32) {
	native.PutUint32(m.buf, uint32(len(m.buf)))
	native.PutUint32(m.buf[8:], seq)
}

func (m *message) setFlags(flags uint16) {
	native.PutUint16(m.buf[6:], native.Uint16(m.buf[6:])|flags)
}

// unless makes an error count as success.
func (m *message) unless(errno unix.Errno) *message {
	m.want = errno
	return m
}

func (m *message) attr(typ uint16, value []byte) *message {
	m.buf = native.AppendUint16(m.buf, uint16(unix.SizeofRtAttr+len(value)))
	m.buf = native.AppendUint16(m.buf, typ)
	m.buf = append(m.buf, value...)
	return m.pad()
}

func (m *message) pad() *message {
	for len(m.buf)%unix.RTA_ALIGNTO != 0 {
		m.buf = append(m.buf, 0)
	}
	return m
}

func (m *message) text(typ uint16, s string) *message {
	return m.attr(typ, append([]byte(s), 0))
}

func (m *message) number(typ uint16, v int) *message {
	return m.attr(typ, native.AppendUint32(nil, uint32(v)))
}

// nest begins an attribute that holds others; the result ends it.
func (m *message) nest(typ uint16) (end func()) {
	at := len(m.buf)
	m.attr(typ, nil)
	return func() { native.PutUint16(m.buf[at:], uint16(len(m.buf)-at)) }
}

// linkMessage is about the link of an index (0: the one that is named).
func linkMessage(typ, flags uint16, index int) *message {
	m := newMessage(typ, flags, unix.SizeofIfInfomsg)
	native.PutUint32(m.buf[unix.NLMSG_HDRLEN+4:], uint32(index))
	return m
}

// up and down set the link's administrative state.
func (m *message) up() *message   { return m.linkFlags(unix.IFF_UP) }
func (m *message) down() *message { return m.linkFlags(0) }

func (m *message) linkFlags(flags uint32) *message {
	native.PutUint32(m.buf[unix.NLMSG_HDRLEN+8:], flags)
	native.PutUint32(m.buf[unix.NLMSG_HDRLEN+12:], unix.IFF_UP)
	return m
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addressMessage adds or removes an address with no network around it. IPv6
// takes no part in duplicate detection: it would wait for a second, and a
// routed link has no one to ask.
func addressMessage(typ, flags uint16, index int, a netip.Addr) *message {
	m := newMessage(typ, flags, unix.SizeofIfAddrmsg)
	body := m.buf[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family(a), byte(a.BitLen())
	if a.Is6() {
		body[2] = unix.IFA_F_NODAD
	}
	native.PutUint32(body[4:], uint32(index))
	m.attr(unix.IFA_LOCAL, a.AsSlice())
	return m.attr(unix.IFA_ADDRESS, a.AsSlice())
}

// neighbourMessage adds or removes a permanent neighbour.
func neighbourMessage(typ, flags uint16, index int, a netip.Addr, mac net.HardwareAddr) *message {
	m := newMessage(typ, flags, unix.SizeofNdMsg)
	body := m.buf[unix.NLMSG_HDRLEN:]
	body[0] = family(a)
	native.PutUint32(body[4:], uint32(index))
	native.PutUint16(body[8:], unix.NUD_PERMANENT)
	m.attr(unix.NDA_DST, a.AsSlice())
	return m.attr(unix.NDA_LLADDR, mac)
}

// fdbMessage adds or removes where a VXLAN device sends frames for a hardware
// address.
func fdbMessage(typ, flags uint16, index int, mac net.HardwareAddr, dst netip.Addr) *message {
	m := newMessage(typ, flags, unix.SizeofNdMsg)
	body := m.buf[unix.NLMSG_HDRLEN:]
	body[0] = unix.AF_BRIDGE
	native.PutUint32(body[4:], uint32(index))
	native.PutUint16(body[8:], unix.NUD_PERMANENT|unix.NUD_NOARP)
	body[10] = unix.NTF_SELF
	m.attr(unix.NDA_LLADDR, mac)
	return m.attr(unix.NDA_DST, dst.AsSlice())
}

// routeSpec is a route as the kernel is told it, by index instead of by name.
type routeSpec struct {
	dst    netip.Prefix
	kind   byte
	scope  byte
	via    netip.Addr
	oif    int
	onlink bool
	src    netip.Addr
	metric int
}

// routeMessage adds or removes a route of ours in the main table.
func routeMessage(typ, flags uint16, r routeSpec) *message {
	m := newMessage(typ, flags, unix.SizeofRtMsg)
	body := m.buf[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family(r.dst.Addr()), byte(r.dst.Bits())
	body[4], body[5], body[6], body[7] = unix.RT_TABLE_MAIN, routeProtocol, r.scope, r.kind
	if r.onlink {
		native.PutUint32(body[8:], unix.RTNH_F_ONLINK)
	}
	if r.dst.Bits() > 0 {
		m.attr(unix.RTA_DST, r.dst.Addr().AsSlice())
	}
	switch {
	case !r.via.IsValid():
	case r.via.Is4() == r.dst.Addr().Is4():
		m.attr(unix.RTA_GATEWAY, r.via.AsSlice())
	default: // an IPv6 next hop for an IPv4 route
		m.attr(unix.RTA_VIA, append(native.AppendUint16(nil, unix.AF_INET6), r.via.AsSlice()...))
	}
	if r.oif != 0 {
		m.number(unix.RTA_OIF, r.oif)
	}
	if r.src.IsValid() {
		m.attr(unix.RTA_PREFSRC, r.src.AsSlice())
	}
	if r.metric != 0 {
		m.number(unix.RTA_PRIORITY, r.metric)
	}
	return m
}

// typeMask takes an attribute's flags off its type.
const typeMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)

// attributes calls f for each attribute in b. Broken ones end it.
func attributes(b []byte, f func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		f(native.Uint16(b[2:])&typeMask, b[unix.SizeofRtAttr:n])
		n = (n + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		if n > len(b) {
			return
		}
		b = b[n:]
	}
}
