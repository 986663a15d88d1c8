// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// pod is a network namespace under the name that a runtime would give it.
func pod(t *testing.T, root, name string) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "run/netns", name)
	err = os.WriteFile(path, nil, 0o600)
	if err == nil {
		err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}
	if err := errors.Join(err, netns.Set(home)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		ns.Close()
	})
	return ns
}

func give(t *testing.T, ns netns.NsHandle, addr string) (take func()) {
	t.Helper()
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	link, err := handle.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := handle.AddrAdd(link, parsed); err != nil {
		t.Fatal(err)
	}
	return func() {
		defer handle.Close()
		if err := handle.AddrDel(link, parsed); err != nil {
			t.Fatal(err)
		}
	}
}

// What the witness sees in a real kernel: an address that moves, and one that
// two have.
func TestWitness(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: this test makes network namespaces and must be run as root")
	}
	w := &Witness{Within: []netip.Prefix{netip.MustParsePrefix("10.32.0.0/12")}}
	if _, err := w.Verdict(); err == nil {
		t.Error("to have seen nothing must be an error")
	}
	var nodes []Node
	for _, name := range []string{"a", "b"} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "run/netns"), 0o755); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, Node{Name: name, Boot: "1", Root: root})
	}
	first, second := pod(t, nodes[0].Root, "cni-1"), pod(t, nodes[1].Root, "cni-2")
	look := func() {
		t.Helper()
		for _, n := range nodes {
			if err := w.Look(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	take := give(t, first, "10.32.0.5/32")
	give(t, first, "192.0.2.1/32")
	look()
	look()
	take()
	give(t, second, "10.32.0.5/32")
	look()
	look()
	said, err := w.Verdict()
	if err != nil || said != "2 stays of 1 addresses in 8 looks" {
		t.Errorf("%q, %v", said, err)
	}
	give(t, first, "10.32.0.5/32")
	look()
	look()
	var twice Twice
	if _, err := w.Verdict(); !errors.As(err, &twice) || twice.A.Addr != netip.MustParseAddr("10.32.0.5") {
		t.Errorf("two had it, and the verdict was %v", err)
	}
	// A node that is gone is no error, and neither is a name without a namespace.
	if err := os.WriteFile(filepath.Join(nodes[1].Root, "run/netns/cni-3"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look()
	if err := w.Look(Node{Name: "gone", Root: filepath.Join(t.TempDir(), "none")}); err != nil {
		t.Error(err)
	}
}
