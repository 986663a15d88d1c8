// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"time"
)

// Attachment is one pod interface, as its host link's alias tells it.
type Attachment struct {
	// Network, Sandbox and IfName together identify it: the CNI network, the
	// sandbox (CNI container id) and the interface's name in the pod.
	Network, Sandbox, IfName string
	// Pod is namespace/name as far as it fits: for people, never for decisions.
	Pod string
	// Addresses are what the pod holds, at most one of each family.
	Addresses []netip.Addr
	// HostIf and Index are the host side's name and interface index.
	HostIf string
	Index  int
	// Up is false for an interface that has been cut off.
	Up bool
	// Dying is true from Detach until the link is gone: its addresses are free.
	Dying bool
}

// AttachRequest asks for one pod interface.
type AttachRequest struct {
	Network, Sandbox, IfName, Pod string
	// NetNS is the path of the pod's network namespace.
	NetNS string
	// Addresses is at most one of each family, and at least one.
	Addresses []netip.Addr
	// MTU overrides the node's; 0 takes the node's.
	MTU int
}

// Interfaces is what a pod interface became.
type Interfaces struct {
	HostIf, HostMAC, ContainerMAC string
	MTU                           int
	// Gateway4 and Gateway6 are the next hops of the families the pod has.
	Gateway4, Gateway6 netip.Addr
}

// How packets travel between nodes.
const (
	// VXLAN encapsulates always.
	VXLAN = "vxlan"
	// Direct routes over a shared subnet, and reaches no peer elsewhere.
	Direct = "direct"
	// Auto routes directly where a peer is on a shared subnet and says that it
	// takes direct traffic, and encapsulates otherwise.
	Auto = "auto"
)

// Forgets is how long the kernel may keep a packet that it cannot send yet, with
// a margin: it gives a neighbour that does not answer up after mcast_solicit
// probes, retrans_time apart (arp(7)): 3 s unless somebody has set them.
const Forgets = 5 * time.Second

// Options say how a Kernel is opened. The zero value is usable.
type Options struct {
	// Device is the VXLAN device's name; default selvage0.
	Device string
	// Port is the outer UDP port; default 4789.
	Port int
	// VNI is the VXLAN network identifier; default 21365.
	VNI int
	// Prefix begins the name of every host veth; default sv.
	Prefix string
	// Encapsulation is vxlan (the default), direct or auto.
	Encapsulation string
	// MTU is that of the pods' interfaces; default: the underlay's, less what
	// encapsulation takes.
	MTU int
	// NetNS is the path of the host's network namespace; default: the caller's.
	NetNS string
	// Sysctls is where the kernel's network settings can be written; default
	// /proc/sys/net. Which namespace's they are depends on the thread that
	// opens them.
	Sysctls string
	// lacks is what Open or Set found the kernel to lack.
	lacks lacking
}

// DefaultOptions are what the zero value of each field stands for.
func DefaultOptions() Options {
	return Options{Device: "selvage0", Port: 4789, VNI: 21365, Prefix: "sv", Encapsulation: VXLAN, Sysctls: "/proc/sys/net"}
}

// Desired is the whole of what Set brings about.
type Desired struct {
	// Name is this peer's, for error texts.
	Name string
	// Underlay are this peer's addresses outside the network, as reported to
	// the others.
	Underlay []netip.Addr
	// HostAddresses are this peer's own inside it: at most one of each family.
	HostAddresses []netip.Addr
	// Own are this peer's ranges: what of them no pod has is blackholed.
	Own []netip.Prefix
	// Pools are all pools: what leaves them is masqueraded.
	Pools []netip.Prefix
	// Remotes are the other current peers. Only they are heard.
	Remotes []Remote
	// Complete says that all of the above is known. Until then nothing that is
	// in the kernel is taken away.
	Complete bool
}

// Remote is another current peer.
type Remote struct {
	Name string
	// Underlay are its addresses outside the network.
	Underlay []netip.Addr
	// VTEP is the hardware address it reported (see Kernel.Underlay).
	VTEP string
	// Ranges are what it owns.
	Ranges []netip.Prefix
}

// withDefaults fills the zero fields and refuses what cannot work.
func (o Options) withDefaults() (Options, error) {
	def := DefaultOptions()
	if o.Device == "" {
		o.Device = def.Device
	}
	if o.Port == 0 {
		o.Port = def.Port
	}
	if o.VNI == 0 {
		o.VNI = def.VNI
	}
	if o.Prefix == "" {
		o.Prefix = def.Prefix
	}
	if o.Encapsulation == "" {
		o.Encapsulation = def.Encapsulation
	}
	if o.Sysctls == "" {
		o.Sysctls = def.Sysctls
	}
	return o, o.validate()
}

func (o Options) validate() error {
	switch o.Encapsulation {
	case VXLAN, Direct, Auto:
	default:
		return fmt.Errorf("--encapsulation=%s: must be vxlan, direct or auto", o.Encapsulation)
	}
	if err := interfaceName(o.Device); err != nil {
		return fmt.Errorf("device: %w", err)
	}
	if err := interfaceName(o.Prefix); err != nil || len(o.Prefix) > maxPrefix {
		return fmt.Errorf("interface prefix %q: must be a name of at most %d characters", o.Prefix, maxPrefix)
	}
	if len(o.Device) >= len(o.Prefix) && o.Device[:len(o.Prefix)] == o.Prefix {
		return fmt.Errorf("device %q begins with the prefix %q of the pods' interfaces: choose another name", o.Device, o.Prefix)
	}
	if o.Port < 1 || o.Port > 65535 {
		return fmt.Errorf("--vxlan-port=%d: must be from 1 to 65535", o.Port)
	}
	if o.VNI < 1 || o.VNI >= 1<<24 {
		return fmt.Errorf("--vxlan-id=%d: must be from 1 to %d", o.VNI, 1<<24-1)
	}
	if o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU) {
		return fmt.Errorf("--mtu=%d: must be from %d to %d", o.MTU, minMTU, maxMTU)
	}
	return nil
}

// IPv6 needs 1280; a veth takes no more than 65535.
const (
	minMTU = 1280
	maxMTU = 65535
)

func (r AttachRequest) validate() error {
	if r.NetNS == "" {
		return fmt.Errorf("attach: no network namespace given")
	}
	if err := interfaceName(r.IfName); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	if r.MTU != 0 && (r.MTU < minMTU || r.MTU > maxMTU) {
		return fmt.Errorf("attach: MTU %d: must be from %d to %d", r.MTU, minMTU, maxMTU)
	}
	return validAddresses(r.Addresses)
}

// validAddresses wants one address, or one of each family.
func validAddresses(addrs []netip.Addr) error {
	if len(addrs) == 0 || len(addrs) > 2 {
		return fmt.Errorf("want one address, or one of each family, not %d", len(addrs))
	}
	for _, a := range addrs {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("address %s cannot be a pod's", a)
		}
	}
	if len(addrs) == 2 && addrs[0].Is4() == addrs[1].Is4() {
		return fmt.Errorf("addresses %s and %s are of one family", addrs[0], addrs[1])
	}
	return nil
}
