// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	"k8s.io/client-go/rest"
)

// EtcdURL is where etcd serves its clients, on the loopback and without TLS.
func (cp *ControlPlane) EtcdURL() string { return cp.etcdURL }

// Replica starts one more API server on the same etcd, as a highly available
// control plane has several. Clients of the first know it by the same
// certificate. It ends with the control plane.
func (cp *ControlPlane) Replica(ctx context.Context) (*Component, netip.AddrPort, error) {
	ports, err := cp.freePorts(cp.options.Listen, 1)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	other := *cp
	other.Address = netip.AddrPortFrom(cp.options.Listen, ports[0])
	other.Config = rest.CopyConfig(cp.Config)
	other.Config.Host = "https://" + other.Address.String()
	c := other.apiServer()
	c.Name = fmt.Sprintf("kube-apiserver-%d", len(cp.replicas)+2)
	c.Log = filepath.Join(cp.Dir, c.Name+".log")
	c.args = append(c.args, "--audit-log-path="+filepath.Join(cp.Dir, c.Name+"-audit.log"))
	cp.replicas = append(cp.replicas, c)
	return c, other.Address, c.Start(ctx)
}
