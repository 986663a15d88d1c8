// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package standalone is a node agent without a cluster: the real CNI server,
// ledger and datapath, with ranges that are given instead of granted. Tests and
// benchmarks run it in a process of its own, so that it can be killed.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// Options say what the agent serves.
type Options struct {
	// RunDir is where its socket is.
	RunDir string
	// NetNS is the path of the host's network namespace.
	NetNS string
	// Node are the host's underlay addresses.
	Node []netip.Addr
	// Ranges are owned. The first address of the first one of each family is
	// the host's own.
	Ranges []netip.Prefix
	// KillAt names a step at which the process kills itself; see [Steps].
	KillAt string
	Log    *slog.Logger
}

// Run serves until ctx ends.
func Run(ctx context.Context, o Options) error {
	kernel, err := datapath.Open(datapath.Options{NetNS: o.NetNS})
	if err != nil {
		return err
	}
	defer func() { _ = kernel.Close() }()
	ledger := addresses.NewLedger()
	steps := &steps{at: o.KillAt}
	ledger.SetGate(func() error { steps.gate(); return nil })
	server := cniserver.New(cniserver.Config{Ledger: ledger, Kernel: &stepping{kernel, steps}, Log: o.Log})

	// What goes while the dump is being read in must not be held afterwards.
	seeded := make(chan struct{})
	links, err := kernel.Watch(ctx, func(a datapath.Attachment) { <-seeded; server.Gone(a) })
	if err != nil {
		return err
	}
	for _, a := range links {
		if !a.Dying {
			ledger.Hold(addresses.Key{Network: a.Network, Sandbox: a.Sandbox, IfName: a.IfName}, a.Addresses)
		}
	}
	close(seeded)
	owned := ranges(o.Ranges)
	ledger.SetRanges(owned)
	if err := set(kernel, o, owned); err != nil {
		return err
	}

	listener, err := cniserver.Listen(filepath.Join(o.RunDir, wire.Socket))
	if err != nil {
		return err
	}
	go touch(ctx, filepath.Join(o.RunDir, wire.Alive))
	return server.Serve(ctx, listener)
}

// set makes the rest of the datapath, as for a node without other peers.
func set(kernel *datapath.Kernel, o Options, owned []addresses.Range) error {
	underlay, _, err := kernel.Underlay(o.Node)
	if err != nil {
		return err
	}
	desired := datapath.Desired{Name: "standalone", Underlay: underlay, Own: o.Ranges, Pools: o.Ranges, Complete: true}
	for _, r := range owned {
		desired.HostAddresses = append(desired.HostAddresses, r.Withheld...)
	}
	return kernel.Set(desired)
}

func ranges(prefixes []netip.Prefix) []addresses.Range {
	var owned []addresses.Range
	var families addresses.Families
	for i, p := range prefixes {
		r := addresses.Range{Name: p.Addr().String(), UID: fmt.Sprint(i), Pool: "default", CIDR: p, Epoch: 1}
		if f := addresses.FamilyOf(p.Addr()); families&f == 0 {
			families |= f
			r.Withheld = []netip.Addr{p.Addr()}
		}
		owned = append(owned, r)
	}
	return owned
}

// touch gives signs of life.
func touch(ctx context.Context, path string) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		now := time.Now()
		if err := os.Chtimes(path, now, now); errors.Is(err, os.ErrNotExist) {
			_ = os.WriteFile(path, nil, 0o600)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
