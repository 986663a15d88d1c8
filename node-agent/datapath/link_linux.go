// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// link is what the kernel says of an interface.
type link struct {
	index, mtu, group int
	// peer is the other end's index (of a veth), or that of the device below.
	peer              int
	name, alias, kind string
	mac               net.HardwareAddr
	up, loopback      bool
	// vxlan holds the parameters of a VXLAN device.
	vxlan []byte
}

func parseLink(body []byte) link {
	if len(body) < unix.SizeofIfInfomsg {
		return link{}
	}
	flags := native.Uint32(body[8:])
	l := link{index: int(int32(native.Uint32(body[4:]))), up: flags&unix.IFF_UP != 0, loopback: flags&unix.IFF_LOOPBACK != 0}
	attributes(body[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.name = textOf(v)
		case unix.IFLA_IFALIAS:
			l.alias = textOf(v)
		case unix.IFLA_ADDRESS:
			l.mac = append(net.HardwareAddr(nil), v...)
		case unix.IFLA_MTU:
			l.mtu = number(v)
		case unix.IFLA_GROUP:
			l.group = number(v)
		case unix.IFLA_LINK:
			l.peer = number(v)
		case unix.IFLA_LINKINFO:
			attributes(v, func(typ uint16, v []byte) {
				switch typ {
				case unix.IFLA_INFO_KIND:
					l.kind = textOf(v)
				case unix.IFLA_INFO_DATA:
					l.vxlan = append([]byte(nil), v...)
				}
			})
		}
	})
	return l
}

// number reads a 32-bit attribute; a short one is 0.
func number(v []byte) int {
	if len(v) < 4 {
		return 0
	}
	return int(native.Uint32(v))
}

// linkByName is nil if there is none.
func (s *socket) linkByName(name string) (*link, error) {
	body, err := s.get(linkMessage(unix.RTM_GETLINK, 0, 0).text(unix.IFLA_IFNAME, name))
	if err != nil {
		return nil, fmt.Errorf("reading interface %s: %w", name, err)
	}
	if body == nil {
		return nil, nil
	}
	l := parseLink(body)
	return &l, nil
}

// links reads all interfaces, or all of one kind.
func (s *socket) links(kind string) ([]link, error) {
	m := linkMessage(unix.RTM_GETLINK, 0, 0)
	if kind != "" {
		end := m.nest(unix.IFLA_LINKINFO)
		m.text(unix.IFLA_INFO_KIND, kind)
		end()
	}
	bodies, err := s.dump(m)
	if err != nil {
		return nil, fmt.Errorf("reading the interfaces: %w", err)
	}
	var links []link
	for _, body := range bodies {
		if l := parseLink(body); l.index != 0 {
			links = append(links, l)
		}
	}
	return links, nil
}

// attachment reads a host link's record. What has our prefix and kind but no
// record is a remainder if it is in one of our groups, and foreign otherwise.
func (o Options) attachment(l link) (a Attachment, ours bool) {
	if l.kind != "veth" || !strings.HasPrefix(l.name, o.Prefix) {
		return Attachment{}, false
	}
	a, err := parseAlias(l.alias)
	if err != nil {
		a = Attachment{}
		ours = l.group == liveGroup || l.group == dyingGroup
	} else {
		ours = l.name == hostName(o.Prefix, a.Network, a.Sandbox, a.IfName)
	}
	a.HostIf, a.Index, a.Up, a.Dying = l.name, l.index, l.up, l.group == dyingGroup
	return a, ours
}

// deleteLink deletes one link and waits for it; a missing one is no error.
func (s *socket) deleteLink(index int) error {
	return s.send(linkMessage(unix.RTM_DELLINK, 0, index).unless(unix.ENODEV))
}

// deleteGroup deletes all links of a group; none is no error.
func (s *socket) deleteGroup(group int) error {
	err := s.send(linkMessage(unix.RTM_DELLINK, 0, 0).number(unix.IFLA_GROUP, group).unless(unix.ENODEV))
	if err != nil {
		return fmt.Errorf("deleting the interfaces of detached pods: %w", err)
	}
	return nil
}
