// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/datapath"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// slowNews is a kernel whose news of links that are gone wait for tell.
type slowNews struct {
	*datapath.Fake
	onGone func(datapath.Attachment)
	news   []datapath.Attachment
}

func (k *slowNews) Watch(ctx context.Context, onGone func(datapath.Attachment)) ([]datapath.Attachment, error) {
	k.onGone = onGone
	return k.Fake.Watch(ctx, func(a datapath.Attachment) { k.news = append(k.news, a) })
}

func (k *slowNews) tell() {
	for _, a := range k.news {
		k.onGone(a)
	}
	k.news = nil
}

// wired is an agent that has adopted what its kernel has, wired as
// cmd/selvage-agent does; naive: whoever is told of an end frees at once.
func wired(t *testing.T, naive bool) (*slowNews, *addresses.Ledger) {
	t.Helper()
	fake, err := datapath.NewFake(datapath.Options{}, netip.MustParsePrefix("192.0.2.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	k, ledger := &slowNews{Fake: fake}, addresses.NewLedger()
	store, err := membership.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	registry := prometheus.NewRegistry()
	calls, err := cniserver.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	gone := cniserver.New(cniserver.Config{Ledger: ledger, Kernel: k, Log: log, Metrics: calls}).Gone
	if naive {
		gone = func(a datapath.Attachment) {
			ledger.Release(addresses.Key{Network: a.Network, Sandbox: a.Sandbox, IfName: a.IfName})
		}
	}
	agent, err := membership.New(membership.Config{
		Name: "host1", LeaseDuration: time.Minute, Store: store, Kernel: k, Ledger: ledger, Clock: membership.BootClock{}, Log: log, Gone: gone,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	ledger.SetGate(func() error { return nil })
	ledger.SetRanges([]addresses.Range{{UID: "r", Name: "10.0.0.0", Pool: "default", CIDR: netip.MustParsePrefix("10.0.0.0/30")}})
	return k, ledger
}

// TestLateNewsFreeNothing: a link goes, the attachment is made anew with the
// same address, and only then is its end told. Freed by that news, the address
// would be the next pod's too.
func TestLateNewsFreeNothing(t *testing.T) {
	key := addresses.Key{Network: "net", Sandbox: "a", IfName: "eth0"}
	addr := netip.MustParseAddr("10.0.0.2")
	for _, naive := range []bool{false, true} {
		k, ledger := wired(t, naive)
		attach := func() {
			t.Helper()
			ledger.Hold(key, []netip.Addr{addr})
			if _, err := k.Attach(datapath.AttachRequest{Network: "net", Sandbox: "a", IfName: "eth0", NetNS: "/run/netns/a", Addresses: []netip.Addr{addr}}); err != nil {
				t.Fatal(err)
			}
		}
		attach()
		if err := k.Detach("net", "a", "eth0"); err != nil {
			t.Fatal(err)
		}
		attach()
		k.tell()
		if held := len(ledger.Lookup(key)) == 1; held == naive {
			t.Errorf("naive: %t, and after the late news it holds its address: %t", naive, held)
		}
	}
}

// TestNewsFree: what is gone, and is not made anew, is free.
func TestNewsFree(t *testing.T) {
	k, ledger := wired(t, false)
	key := addresses.Key{Network: "net", Sandbox: "a", IfName: "eth0"}
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.2")}
	ledger.Hold(key, addrs)
	if _, err := k.Attach(datapath.AttachRequest{Network: "net", Sandbox: "a", IfName: "eth0", NetNS: "/run/netns/a", Addresses: addrs}); err != nil {
		t.Fatal(err)
	}
	if err := k.Detach("net", "a", "eth0"); err != nil {
		t.Fatal(err)
	}
	if ledger.Lookup(key) == nil {
		t.Fatal("free before anybody was told")
	}
	k.tell()
	if held := ledger.Lookup(key); held != nil {
		t.Errorf("it is gone, and holds %v", held)
	}
}

// TestSomebodyIsTold: an agent that tells nobody is not made.
func TestSomebodyIsTold(t *testing.T) {
	store, err := membership.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if _, err := membership.New(membership.Config{Name: "host1", LeaseDuration: time.Minute, Store: store, Ledger: addresses.NewLedger()}); err == nil {
		t.Error("made an agent that would leak every address")
	}
}
