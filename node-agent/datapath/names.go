// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// What marks the kernel's objects as ours.
const (
	// routeProtocol is in every route of ours, and in no other.
	routeProtocol = 115
	// liveGroup and dyingGroup are the interface groups of host veths.
	liveGroup  = 0x5e1a0001
	dyingGroup = 0x5e1a0002
	// blackholeMetric is high, so that a route to the same prefix wins and one
	// can follow the other without a gap.
	blackholeMetric = 1 << 24
	// maxName is the longest interface name, maxPrefix leaves 35 bits to tell
	// pods apart by.
	maxName   = 15
	maxPrefix = 8
)

// gateway4 and gateway6 are every pod's next hops. No one answers for them: the
// pod has a permanent neighbour entry.
var (
	gateway4 = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	gateway6 = netip.MustParseAddr("fe80::1")
)

var nameEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// digest identifies an attachment: names and hardware addresses derive from it.
func digest(network, sandbox, ifname string) [sha256.Size]byte {
	return sha256.Sum256([]byte(network + "\x00" + sandbox + "\x00" + ifname))
}

// hostName is the host interface of an attachment: the same for the same key.
func hostName(prefix, network, sandbox, ifname string) string {
	sum := digest(network, sandbox, ifname)
	return (prefix + nameEncoding.EncodeToString(sum[:]))[:maxName]
}

// macs are the hardware addresses of an attachment's two ends. They are chosen
// here, not by the kernel, so that both neighbours are known beforehand and no
// network manager takes them for random ones to be changed.
func macs(network, sandbox, ifname string) (host, pod net.HardwareAddr) {
	sum := digest(network, sandbox, ifname)
	host = append(net.HardwareAddr{0x0e, 0x5e}, sum[16:20]...)
	pod = append(net.HardwareAddr{0x0a, 0x5e}, sum[16:20]...)
	return host, pod
}

// derivedMAC begins the hardware addresses of peers that take no direct traffic.
var derivedMAC = [2]byte{0x5a, 0x5e}

// vtepMAC is the VTEP's hardware address of a peer with this underlay address.
// An IPv4 address is in it whole: underlay addresses are unique, and so is it.
func vtepMAC(underlay netip.Addr) net.HardwareAddr {
	mac := net.HardwareAddr{derivedMAC[0], derivedMAC[1]}
	if underlay.Is4() {
		a := underlay.As4()
		return append(mac, a[:]...)
	}
	a := underlay.As16()
	sum := sha256.Sum256(a[:])
	return append(mac, sum[:4]...)
}

// takesDirect says whether a peer that reported this hardware address takes
// packets that are not encapsulated: then it reported its network card's.
func takesDirect(mac string) bool {
	hw, err := net.ParseMAC(mac)
	return err == nil && len(hw) == 6 && [2]byte(hw[:2]) != derivedMAC
}

// linkLocal is the address a VTEP of this hardware address is routed through.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

// interfaceName refuses what the kernel would refuse as an interface's name.
func interfaceName(name string) error {
	if name == "" || len(name) > maxName || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r%\x00") {
		return fmt.Errorf("%q is not an interface name (1 to %d characters, no slash, colon, percent sign or space)", name, maxName)
	}
	return nil
}

// mustMAC parses what net.HardwareAddr.String wrote.
func mustMAC(s string) net.HardwareAddr {
	mac, err := net.ParseMAC(s)
	if err != nil {
		return make(net.HardwareAddr, 6) // no step has one that goalOf has not parsed
	}
	return mac
}
