// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"testing"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// fakeKernel is a datapath of which only the links are remembered.
type fakeKernel struct {
	mu    sync.Mutex
	links map[addresses.Key]datapath.Attachment
	// attachErr and detachErr are what the calls fail with, checkErr what Check
	// finds, attached is called at the end of each Attach.
	attachErr, detachErr, checkErr error
	attached                       func()
	// busy finds two calls that work on one attachment at a time.
	busy map[addresses.Key]bool
	t    testing.TB
}

func (k *fakeKernel) enter(key addresses.Key) func() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy[key] {
		k.t.Errorf("two calls work on %s at a time", key)
	}
	k.busy[key] = true
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.busy, key)
	}
}

func (k *fakeKernel) Attach(r datapath.AttachRequest) (datapath.Interfaces, error) {
	key := addresses.Key{Network: r.Network, Sandbox: r.Sandbox, IfName: r.IfName}
	defer k.enter(key)()
	if k.attachErr != nil {
		return datapath.Interfaces{}, k.attachErr
	}
	if r.NetNS == "/gone" {
		return datapath.Interfaces{}, fmt.Errorf("opening: %w", fs.ErrNotExist)
	}
	k.mu.Lock()
	k.links[key] = datapath.Attachment{Network: r.Network, Sandbox: r.Sandbox, IfName: r.IfName, Pod: r.Pod, Addresses: r.Addresses}
	k.mu.Unlock()
	if k.attached != nil {
		k.attached()
	}
	return datapath.Interfaces{HostIf: "sv0", HostMAC: "0e:5e:00:00:00:01", ContainerMAC: "0a:5e:00:00:00:01", MTU: 1450,
		Gateway4: netip.MustParseAddr("169.254.1.1"), Gateway6: netip.MustParseAddr("fe80::1")}, nil
}

func (k *fakeKernel) Detach(network, sandbox, ifname string) error {
	key := addresses.Key{Network: network, Sandbox: sandbox, IfName: ifname}
	defer k.enter(key)()
	if k.detachErr != nil {
		return k.detachErr
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.links, key)
	return nil
}

func (k *fakeKernel) Lookup(network, sandbox, ifname string) (datapath.Attachment, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.links[addresses.Key{Network: network, Sandbox: sandbox, IfName: ifname}]
	return a, ok, nil
}

func (k *fakeKernel) Check(datapath.Attachment) error { return k.checkErr }

func (k *fakeKernel) Dump() (all []datapath.Attachment, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.links {
		all = append(all, a)
	}
	return all, nil
}

// server is one with a fake kernel and a range of four addresses.
type server struct {
	*cniserver.Server
	kernel *fakeKernel
	ledger *addresses.Ledger
	config cniserver.Config
}

func newServer(t testing.TB, change ...func(*cniserver.Config)) *server {
	s := &server{
		kernel: &fakeKernel{links: map[addresses.Key]datapath.Attachment{}, busy: map[addresses.Key]bool{}, t: t},
		ledger: addresses.NewLedger(),
	}
	s.ledger.SetRanges([]addresses.Range{{Name: "10.0.0.0", UID: "u", Pool: "p", Epoch: 1, CIDR: netip.MustParsePrefix("10.0.0.0/30")}})
	s.config = cniserver.Config{Ledger: s.ledger, Kernel: s.kernel}
	for _, c := range change {
		c(&s.config)
	}
	s.Server = cniserver.New(s.config)
	return s
}

func request(command, id string) wire.Request {
	return wire.Request{Command: command, ContainerID: id, NetNS: "/run/netns/" + id, IfName: "eth0",
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + id, Stdin: []byte(`{"cniVersion":"1.1.0","name":"net"}`)}
}

func keyOf(id string) addresses.Key {
	return addresses.Key{Network: "net", Sandbox: id, IfName: "eth0"}
}

var errKernel = errors.New("the kernel said no")
