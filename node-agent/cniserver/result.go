// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/selvage-net/selvage/node-agent/datapath"
)

// result is what ADD prints: the host's interface and the pod's, the addresses
// on the latter (bandwidth and portmap need to know), the way out. What plugins
// before this one did comes first.
func result(r *request, res *current.Result, got datapath.Interfaces, addrs []netip.Addr) ([]byte, *types.Error) {
	if res == nil {
		res = &current.Result{CNIVersion: current.ImplementedSpecVersion}
	}
	pod := len(res.Interfaces) + 1
	res.Interfaces = append(res.Interfaces,
		&current.Interface{Name: got.HostIf, Mac: got.HostMAC, Mtu: got.MTU},
		&current.Interface{Name: r.key.IfName, Mac: got.ContainerMAC, Mtu: got.MTU, Sandbox: r.netns})
	for _, a := range addrs {
		gateway, everything := got.Gateway4, netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if a.Is6() {
			gateway, everything = got.Gateway6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		at := pod
		res.IPs = append(res.IPs, &current.IPConfig{
			Interface: &at, Address: ipNet(netip.PrefixFrom(a, a.BitLen())), Gateway: gateway.AsSlice()})
		res.Routes = append(res.Routes, &types.Route{Dst: ipNet(everything), GW: gateway.AsSlice()})
	}
	if len(r.conf.DNS.Nameservers) > 0 || r.conf.DNS.Domain != "" || len(r.conf.DNS.Search) > 0 || len(r.conf.DNS.Options) > 0 {
		res.DNS = r.conf.DNS
	}
	return encode(res, r.version)
}

func encode(res *current.Result, version string) ([]byte, *types.Error) {
	old, err := res.GetAsVersion(version)
	if err != nil {
		return nil, fail(codeVersion, "the result cannot be given as version %s: %v", version, err)
	}
	body, err := json.Marshal(old)
	if err != nil {
		return nil, fail(codeTryAgain, "the result cannot be encoded: %v", err)
	}
	return append(body, '\n'), nil
}

// previous is the result of the plugins before this one; nil if there is none.
func previous(r *request) (*current.Result, *types.Error) {
	raw := bytes.TrimSpace(r.conf.PrevResult)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	old, err := create.Create(r.version, raw)
	if err != nil {
		return nil, fail(codeConfig, "prevResult is not a result of version %s: %v", r.version, err)
	}
	res, err := current.NewResultFromResult(old)
	if err != nil {
		return nil, fail(codeConfig, "prevResult cannot be read: %v", err)
	}
	return res, nil
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
