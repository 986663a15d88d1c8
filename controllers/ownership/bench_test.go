// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// crowd is a settled cluster: so many peers, two ranges each.
func crowd(peers int) ownership.Snapshot {
	s := ownership.Snapshot{Consistent: true, PodsListed: map[string]bool{}}
	pool := ownership.Pool{CIDR: netip.MustParsePrefix("10.0.0.0/8"), First: 24, Max: 24, Claimed: true, Accepted: true}
	pool.Object = ownership.Object{Name: "default", UID: "pool", Version: "1", Finalizer: true}
	s.Pools = []ownership.Pool{pool}
	next := pool.CIDR.Addr()
	for i := range peers {
		name, uid := fmt.Sprintf("host%05d", i), fmt.Sprintf("uid-%05d", i)
		p := ownership.Peer{Object: ownership.Object{Name: name, UID: uid, Version: "1", Finalizer: true}, Generation: 1, NodeUID: "node-" + uid}
		p.Report = ownership.Report{Present: true, NodeUID: p.NodeUID, Headroom: -1}
		s.Peers = append(s.Peers, p)
		l := ownership.Lease{Object: ownership.Object{Name: name, UID: uid, Version: "1"}, Holder: uid + "/1", Duration: time.Minute}
		s.Leases = append(s.Leases, l)
		s.Nodes = append(s.Nodes, ownership.Node{Name: name, UID: p.NodeUID, Pools: map[string]bool{"default": true}})
		for range 2 {
			b := next.As4()
			r := ownership.Range{Pool: "default", CIDR: netip.PrefixFrom(next, 24), Owner: ownership.Ref{Name: name, UID: uid}, Epoch: 1, ObservedEpoch: 1, Used: 30}
			r.Object = ownership.Object{Name: next.String(), UID: "range-" + next.String(), Version: "1"}
			s.Ranges = append(s.Ranges, r)
			for k := range 5 {
				s.Pods = append(s.Pods, ownership.Pod{UID: fmt.Sprintf("pod-%s-%d", next, k), Name: "p", Node: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{b[0], b[1], b[2], byte(k + 1)})}})
			}
			if b[2]++; b[2] == 0 {
				b[1]++
			}
			next = netip.AddrFrom4(b)
		}
	}
	return s
}

func observed(s *ownership.Snapshot) *ownership.Memory {
	m := ownership.NewMemory()
	m.Observe(s, 0)
	return m
}

// BenchmarkDecide is one decision at 5,000 peers and 10,000 ranges: when there
// is nothing to do, when everyone lacks space, and in a storm of removals.
func BenchmarkDecide(b *testing.B) {
	const peers = 5000
	b.Run("settled", func(b *testing.B) {
		s := crowd(peers)
		decide(b, &s, 0)
	})
	b.Run("everyone-lacks", func(b *testing.B) {
		s := crowd(peers)
		for i := range s.Peers {
			s.Peers[i].Report.Headroom = 500
		}
		decide(b, &s, peers)
	})
	b.Run("claims", func(b *testing.B) {
		s := crowd(peers)
		for i := range s.Peers {
			s.Peers[i].Report.Headroom = 500
		}
		for i := range peers {
			next := netip.AddrFrom4([4]byte{10, byte(128 + i>>8), byte(i), 0})
			r := ownership.Range{Pool: "default", CIDR: netip.PrefixFrom(next, 24)}
			r.Object = ownership.Object{Name: next.String(), UID: "range-" + next.String(), Version: "1"}
			s.Ranges = append(s.Ranges, r)
		}
		decide(b, &s, peers)
	})
	b.Run("500-transfers", func(b *testing.B) {
		s := crowd(peers)
		var removed []string
		for i := range 500 {
			p := &s.Peers[i]
			p.Removal = &ownership.Removal{Reason: ownership.Declared, RemovalUID: "r"}
			p.Phase = ownership.Transferring
			p.Result = &ownership.Result{Evidence: ownership.LeaseExpired, Heir: ownership.Ref{Name: s.Peers[4999].Name, UID: s.Peers[4999].UID}}
			s.Leases[i].Holder = "sealed"
			s.PodsListed[p.Name] = true
			removed = append(removed, p.UID)
		}
		for i := 500; i < peers; i++ {
			s.Leases[i].CutOff = removed
		}
		decide(b, &s, 1000)
	})
}

func decide(b *testing.B, s *ownership.Snapshot, want int) {
	m := observed(s)
	for b.Loop() {
		m.Observe(s, time.Second)
		d := ownership.Decide(s, m, time.Second, ownership.Config{MaxRemovals: 1})
		if len(d.Writes) != want {
			b.Fatalf("%d writes, want %d: %v", len(d.Writes), want, d.Writes[:min(3, len(d.Writes))])
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	s := crowd(5000)
	for b.Loop() {
		if v := ownership.Check(&s); len(v) > 0 {
			b.Fatal(v)
		}
	}
}
