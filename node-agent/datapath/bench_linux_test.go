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
