// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"encoding/json"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// FuzzViews: whatever the API shows, one time after another, an agent's world
// keeps what it has promised: no epoch falls, nothing is allocated outside of
// its own ranges, and what was cut off stays so.
func FuzzViews(f *testing.F) {
	all := scene()
	half := "10.32.0.0/25"
	asked := scene()
	asked.Ranges[0].Spec.Keep = &half
	asked.Peers[1].Status.Phase = "Removed"
	for _, pair := range [][2]View{{all, asked}, {asked, all}, {{}, all}} {
		var seeds [2][]byte
		for i, v := range pair {
			var err error
			if seeds[i], err = json.Marshal(v); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(seeds[0], seeds[1])
	}
	f.Add([]byte(`{"Ranges":[{"metadata":{"uid":"r"},"spec":{"cidr":"::/0","epoch":1,"owner":{"uid":"me"},"keep":"x"},"status":{"sealed":{"epoch":1,"keep":"y"}}}]}`), []byte("{}"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		w, record := newWorld("me", nil), Record{InstanceID: "i", PeerUID: "me"}.clone()
		for i, data := range [][]byte{first, second, first} {
			var v View
			if json.Unmarshal(data, &v) != nil || len(data) > 1<<16 {
				return
			}
			epochs, cut := maps.Clone(w.epochs), maps.Clone(w.cut)
			_ = Decide(situation(&v, "a", record, Fingerprint{}))
			_, _ = v.poolCIDRs(), v.families()
			w.fold(&v, time.Duration(i)*time.Minute, v.Consistent && i == 0, record)
			w.remember(&record, func(netip.Addr) bool { return false })
			checkWorld(t, w, record, epochs, cut)
		}
		if err := record.check(); err != nil {
			t.Errorf("what is remembered could not be read again: %v", err)
		}
	})
}

func checkWorld(t *testing.T, w *world, record Record, epochs map[string]int64, cut map[string]bool) {
	for uid, was := range epochs {
		if w.epochs[uid] < was {
			t.Errorf("range %s fell from epoch %d to %d", uid, was, w.epochs[uid])
		}
	}
	for uid := range cut {
		if !w.cut[uid] || w.peers[uid] != nil {
			t.Errorf("%s was cut off, and is heard again", uid)
		}
	}
	kernel, err := datapath.NewFake(datapath.Options{}, netip.MustParsePrefix("192.0.2.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	d := w.desired("a", []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil, record)
	_ = kernel.Set(d) // an error at most
	l := addresses.NewLedger()
	ranges := w.ledgerRanges(record)
	for _, r := range ranges {
		if r.CIDR.Addr().BitLen()-r.CIDR.Bits() > 12 {
			return // more than a fuzzer has the time to look through
		}
	}
	l.SetRanges(ranges)
	got, err := l.Allocate(addresses.Key{Network: "n", Sandbox: "s", IfName: "i"}, addresses.Request{})
	if err == nil && !w.ownsEach(got) {
		t.Errorf("%v was given out, and is in no range of its own", got)
	}
}
