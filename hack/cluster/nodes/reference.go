// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"net/netip"
	"path/filepath"

	"github.com/selvage-net/selvage/hack/cluster/nodes/machine"
)

var zeroAddr netip.Addr

// subnets are the node's parts of the pod ranges: its index in each.
func (n *Node) subnets() []netip.Prefix {
	var subnets []netip.Prefix
	for _, r := range n.cluster.options.PodRanges {
		subnets = append(subnets, part(r, perNode(r), n.index))
	}
	return subnets
}

// part is the index-th prefix of the given length in r.
func part(r netip.Prefix, bits, index int) netip.Prefix {
	address := r.Masked().Addr().AsSlice()
	for at := bits - 1; index > 0 && at >= r.Bits(); at, index = at-1, index>>1 {
		address[at/8] |= byte(index&1) << (7 - at%8)
	}
	a, _ := netip.AddrFromSlice(address)
	return netip.PrefixFrom(a, bits)
}

// installReference writes the reference CNI's configuration to the disk.
func (n *Node) installReference() error {
	if !n.cluster.options.ReferenceCNI {
		return nil
	}
	s := settings{Subnets: n.subnets()}
	return s.render("reference.conflist", filepath.Join(n.disk(), machine.DiskCNI, "net.d", "10-reference.conflist"))
}

// routeToOthers gives a node that starts the routes to all others' pods.
func (n *Node) routeToOthers() error {
	if !n.cluster.options.ReferenceCNI {
		return nil
	}
	for _, other := range n.cluster.Nodes() {
		if err := n.routeToPodsOf(other); err != nil {
			return err
		}
	}
	return nil
}

// routeTo gives all others the routes to a new node's pods: also the machine of
// the API server, which pods talk to.
func (c *Cluster) routeTo(n *Node) error {
	for _, subnet := range n.subnets() {
		if err := c.Route(subnet, n); err != nil {
			return err
		}
	}
	for _, other := range c.Nodes() {
		if other.State() == "off" {
			continue // it gets them when it starts
		}
		if err := other.routeToPodsOf(n); err != nil {
			return err
		}
	}
	return nil
}

// Route makes the machine of the API server, which is no node and so in no pod
// network, send to addresses by way of a node.
func (c *Cluster) Route(to netip.Prefix, by *Node) error {
	via := by.host.Address
	if !to.Addr().Is4() {
		via = by.host.Address6
	}
	return c.network.Route(to, via)
}

func (n *Node) routeToPodsOf(other *Node) error {
	if n == other {
		return nil
	}
	for i, subnet := range other.subnets() {
		if err := n.host.Route(subnet, other.Addresses()[i]); err != nil {
			return err
		}
	}
	return nil
}
