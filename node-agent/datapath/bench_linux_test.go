// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkAttach attaches one pod after another, each in a namespace of its own.
func BenchmarkAttach(b *testing.B) {
	for name, addresses := range map[string][]netip.Addr{"IPv4": addrs("10.32.0.1"), "both": addrs("10.32.0.1", "fd00:10::1")} {
		b.Run(name, func(b *testing.B) { benchmarkAttach(b, addresses) })
	}
}

func benchmarkAttach(b *testing.B, first []netip.Addr) {
	needRoot(b)
	k := open(b, newNamespace(b, "host"), Options{})
	const pods = 50
	spaces := make([]*namespace, pods)
	for i := range spaces {
		spaces[i] = newNamespace(b, fmt.Sprint("pod", i))
	}
	b.ResetTimer()
	for i := range b.N {
		if i%pods == 0 && i > 0 {
			b.StopTimer()
			for j := range pods {
				detachNow(b, k, fmt.Sprint("sandbox", i-1-j))
			}
			b.StartTimer()
		}
		req := AttachRequest{Network: "selvage", Sandbox: fmt.Sprint("sandbox", i), IfName: "eth0", NetNS: spaces[i%pods].path}
		for _, a := range first {
			for range i % pods {
				a = a.Next()
			}
			req.Addresses = append(req.Addresses, a)
		}
		if _, err := k.Attach(req); err != nil {
			b.Fatal(err)
		}
	}
}

func detachNow(t testing.TB, k *Kernel, sandbox string) {
	t.Helper()
	if err := k.Detach("selvage", sandbox, "eth0"); err != nil {
		t.Fatal(err)
	}
	err := k.do(func(w *worker) error { return w.host.deleteGroup(dyingGroup) })
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkDetach takes away what is attached; the links go behind it.
func BenchmarkDetach(b *testing.B) {
	needRoot(b)
	k := open(b, newNamespace(b, "host"), Options{})
	pod := newNamespace(b, "pod")
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		req := AttachRequest{Network: "selvage", Sandbox: fmt.Sprint(i), IfName: fmt.Sprint("e", i), NetNS: pod.path, Addresses: addrs("10.32.0.1", "fd00:10::1")}
		if _, err := k.Attach(req); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := k.Detach("selvage", fmt.Sprint(i), req.IfName); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSet is about 5,000 peers with two ranges each: all of them new, one
// of them gone and back, and nothing to do.
func BenchmarkSet(b *testing.B) {
	const peers = 5000
	for _, mode := range []string{VXLAN, Auto} {
		l := newLab(b, 1, families{"", "4", "4"}, Options{Encapsulation: mode})
		h := l.hosts[0]
		d := h.desired()
		d.Pools = append(d.Pools, prefixes("10.64.0.0/10")...)
		for i := range peers {
			r := Remote{Name: fmt.Sprint("peer", i), VTEP: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255)}
			r.Underlay = []netip.Addr{netip.AddrFrom4([4]byte{172, 16 + byte(i/25000), byte(i / 250), byte(1 + i%250)})}
			for j := range 2 {
				at := 2*i + j
				r.Ranges = append(r.Ranges, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + byte(at>>8), byte(at), 0}), 24))
			}
			d.Remotes = append(d.Remotes, r)
		}
		all, none := d, d
		none.Remotes = nil
		one := d
		one.Remotes = d.Remotes[1:]
		set := func(b *testing.B, d Desired) {
			b.Helper()
			if err := h.k.Set(d); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(mode+"/all", func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				set(b, none)
				b.StartTimer()
				set(b, all)
			}
		})
		b.Run(mode+"/one", func(b *testing.B) {
			for i := range b.N {
				set(b, []Desired{one, all}[i%2])
			}
		})
		set(b, all)
		b.Run(mode+"/nothing", func(b *testing.B) {
			for range b.N {
				set(b, all)
			}
		})
	}
}
