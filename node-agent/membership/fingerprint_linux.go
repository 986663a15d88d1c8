// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

const dmiUUID = "/sys/class/dmi/id/product_uuid"

// ReadFingerprint reads this machine's: its DMI uuid, and the addresses of its
// physical network interfaces. Where there is none (a container posing as a
// machine), those count that have an address to be reached at; not tunnels,
// whose own are derived from those.
func ReadFingerprint() (Fingerprint, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return Fingerprint{}, fmt.Errorf("listing network interfaces: %w", err)
	}
	var physical, reachable []string
	for _, link := range links {
		attrs := link.Attrs()
		mac := attrs.HardwareAddr.String()
		if strings.Trim(mac, "0:") == "" {
			continue
		}
		if attrs.ParentDev != "" {
			physical = append(physical, mac)
		} else if link.Type() != "vxlan" && isReachable(link) {
			reachable = append(reachable, mac)
		}
	}
	if len(physical) == 0 {
		physical = reachable
	}
	slices.Sort(physical)
	uuid, err := os.ReadFile(dmiUUID)
	if err != nil && !os.IsNotExist(err) {
		return Fingerprint{}, fmt.Errorf("reading the machine's uuid: %w", err)
	}
	return Fingerprint{DMI: strings.ToLower(strings.TrimSpace(string(uuid))), NICs: slices.Compact(physical)}, nil
}

func isReachable(link netlink.Link) bool {
	held, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false // the link has just gone
	}
	return slices.ContainsFunc(held, func(a netlink.Addr) bool { return a.IP.IsGlobalUnicast() })
}
