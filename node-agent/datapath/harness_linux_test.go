// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// needRoot stops a test that cannot be run, and says so.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: this test makes network namespaces and must be run as root")
	}
}

// run runs a command line and returns what it printed.
func run(t testing.TB, line string) string {
	t.Helper()
	out, err := try(line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

func try(line string) (string, error) {
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	return string(out), err
}

// namespace is a network namespace of a test's, from which nothing leaves.
type namespace struct {
	t    testing.TB
	name string
	path string
}

func newNamespace(t testing.TB, name string) *namespace {
	t.Helper()
	n := &namespace{t: t, name: fmt.Sprintf("sv%d-%x-%s", os.Getpid(), rand.Uint32(), name)}
	n.path = "/run/netns/" + n.name
	run(t, "ip netns add "+n.name)
	t.Cleanup(n.remove)
	n.run("ip link set lo up")
	n.run("ip route add unreachable default metric 4000000")
	n.run("ip -6 route add unreachable default metric 4000000")
	return n
}

func (n *namespace) remove() { _, _ = try("ip netns del " + n.name) }

func (n *namespace) run(line string) string {
	n.t.Helper()
	return run(n.t, "ip netns exec "+n.name+" "+line)
}

// enter calls f on a thread that is in the namespace. Sockets that f opens stay
// in it.
func (n *namespace) enter(f func()) {
	n.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread is thrown away
		fd, err := unix.Open(n.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		n.t.Fatalf("entering %s: %v", n.name, err)
	}
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// open opens the datapath in a namespace.
func open(t testing.TB, n *namespace, opts Options) *Kernel {
	t.Helper()
	opts.NetNS = n.path
	k, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}
