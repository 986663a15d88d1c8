// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machines

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/hack/cluster/nodes"
)

// TestMachines is one story on one cluster: booting is what takes time.
func TestMachines(t *testing.T) {
	dir := t.TempDir()
	c := boot(t, dir, nodes.Options{Count: 2, Family: nodes.Dual})
	first, second := c.pod("first", "node1"), c.pod("second", "node2")
	if len(first.Status.PodIPs) != 2 || len(second.Status.PodIPs) != 2 {
		t.Fatalf("pods have the addresses %v and %v, want two each", first.Status.PodIPs, second.Status.PodIPs)
	}
	for _, ip := range second.Status.PodIPs {
		if said := c.ask("first", netip.AddrPortFrom(netip.MustParseAddr(ip.IP), port)); !strings.HasPrefix(said, "second ") {
			t.Errorf("%s answered %q, want second", ip.IP, said)
		}
	}
	services := c.service()
	for _, service := range services {
		c.ask("first", service)
		c.ask("second", service)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"nodes leave no mark on the machine and send nothing out", nothingOut},
		{"a command on a node ends with its context", callOff},
		{"a power cut keeps the disk", powerCut},
		{"a cut cable is noticed, and healed", cutCable},
		{"a paused node is noticed, and goes on", pause},
		{"a re-imaged node has a new disk and the old name", reimage},
		{"a node can be added", add},
		{"a failure can be explained", collect},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, &cluster{Cluster: c.Cluster, t: t, clients: c.clients}) }) {
			return
		}
	}
	for _, service := range services {
		c.ask("first", service)
	}
	if processesOf(dir) == nil || groupsOf(dir) == nil {
		t.Error("what looks for leftovers does not find a cluster that runs")
	}
	c.must(c.Down(t.Context()))
	leftovers(t, dir)
}

func nothingOut(t *testing.T, c *cluster) {
	if said, err := c.node("node1").Output(t.Context(), "touch", "/usr/mark"); err == nil || !strings.Contains(said, "Read-only") {
		t.Errorf("a node wrote into the machine's /usr: %v %s", err, said)
	}
	c.on("node1", "touch /etc/mark /opt/cni/bin/mark /var/lib/mark /run/mark /tmp/mark")
	for _, path := range []string{"/etc/mark", "/opt/cni/bin/mark", "/usr/lib/cni/mark", "/var/lib/mark", "/run/mark", "/tmp/mark"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s of a node is the machine's", path)
		}
	}
	for _, outside := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		if conn, err := c.node("node1").Host().Dial(t.Context(), "tcp", outside); err == nil || !strings.Contains(err.Error(), "unreachable") && !strings.Contains(err.Error(), "no route") {
			t.Errorf("a packet for %s found a way: %v, %v", outside, conn, err)
		}
	}
	// What a kubelet sets for the whole kernel, it sets for itself alone.
	before, err := os.ReadFile("/proc/sys/kernel/panic")
	c.must(err)
	c.on("node1", "echo 4242 > /proc/sys/kernel/panic")
	after, err := os.ReadFile("/proc/sys/kernel/panic")
	c.must(err)
	if string(before) != string(after) {
		t.Errorf("kernel.panic was %s and a node made it %s", before, after)
	}
}

func callOff(t *testing.T, c *cluster) {
	const mark = "777777" // seconds that nothing else sleeps
	ctx, cancel := context.WithCancel(t.Context())
	cmd, err := c.node("node1").Command(ctx, "sleep", mark)
	c.must(err)
	c.must(cmd.Start())
	c.until("it runs", func(context.Context) error {
		_, err := c.node("node1").Output(t.Context(), "pgrep", "-f", mark)
		return err
	})
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("it ended by itself")
	}
	if said, err := c.node("node1").Output(t.Context(), "pgrep", "-f", mark); err == nil {
		t.Errorf("it still runs: %s", said)
	}
}

func powerCut(t *testing.T, c *cluster) {
	n := c.node("node2")
	c.on("node2", "touch /var/lib/kept /run/lost; touch /opt/cni/bin/kept")
	boot, container := n.BootID(), c.awaitPod("second", "").Status.ContainerStatuses[0].ContainerID
	c.must(n.Stop(t.Context()))
	if _, err := n.PID(); err == nil {
		t.Error("a node that is off has a process")
	}
	c.must(c.WaitNotReady(t.Context(), "node2"))
	c.must(n.Start(t.Context()))
	c.must(c.WaitReady(t.Context()))
	if n.BootID() == boot {
		t.Error("the boot id is that of before")
	}
	if said := c.on("node2", "cat /proc/sys/kernel/random/boot_id"); said != n.BootID() {
		t.Errorf("the node's kernel says boot %s, want %s", said, n.BootID())
	}
	c.on("node2", "test -e /var/lib/kept && test -e /opt/cni/bin/kept && ! test -e /run/lost")
	c.awaitPod("second", container)
}

func cutCable(t *testing.T, c *cluster) {
	n := c.node("node1")
	c.must(n.Cut())
	c.must(c.WaitNotReady(t.Context(), "node1"))
	if n.State() != "on" {
		t.Errorf("the node is %s, want on: only its cable is out", n.State())
	}
	c.must(n.Join())
	c.must(c.WaitReady(t.Context()))
}

func pause(t *testing.T, c *cluster) {
	n := c.node("node2")
	boot := n.BootID()
	c.must(n.Pause(t.Context()))
	c.must(c.WaitNotReady(t.Context(), "node2"))
	c.must(n.Resume(t.Context()))
	c.must(c.WaitReady(t.Context()))
	if n.BootID() != boot {
		t.Error("a pause was a reboot")
	}
	// A node can be switched off while it is paused.
	c.must(n.Pause(t.Context()))
	c.must(n.Reboot(t.Context()))
	c.must(c.WaitReady(t.Context()))
}

func reimage(t *testing.T, c *cluster) {
	before := c.on("node2", "cat /etc/machine-id")
	container := c.awaitPod("second", "").Status.ContainerStatuses[0].ContainerID
	c.must(c.node("node2").Reimage(t.Context()))
	c.must(c.WaitReady(t.Context()))
	if after := c.on("node2", "cat /etc/machine-id"); after == before {
		t.Error("a re-imaged node has the machine id of before")
	}
	c.on("node2", "! test -e /var/lib/kept && ! test -e /opt/cni/bin/kept && test -e /opt/cni/bin/portmap")
	c.awaitPod("second", container) // the image is there again
}

func add(t *testing.T, c *cluster) {
	_, err := c.AddNode(t.Context(), "node3")
	c.must(err)
	c.must(c.WaitReady(t.Context()))
	third := c.pod("third", "node3")
	for _, ip := range third.Status.PodIPs {
		c.ask("first", netip.AddrPortFrom(netip.MustParseAddr(ip.IP), port))
	}
}

func collect(t *testing.T, c *cluster) {
	dir := t.TempDir()
	c.must(c.Collect(t.Context(), dir))
	for name, want := range map[string]string{
		"kube-apiserver.log": "", "objects.txt": "pod/third", "events.txt": "Rebooted",
		"node1/kubelet.log": "", "node1/routes.txt": "unreachable", "node3/nftables.txt": "kube-proxy",
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(data) == 0 || !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %q: %d bytes, %v", name, want, len(data), err)
		}
	}
}

// TestKinds shows that Services work in every kind of cluster that is offered.
func TestKinds(t *testing.T) {
	for _, options := range []nodes.Options{
		{Count: 1, Family: nodes.IPv6},
		{Count: 1, ProxyMode: "iptables", KubernetesTimings: true},
	} {
		t.Run(string(options.Family)+options.ProxyMode, func(t *testing.T) {
			c := boot(t, t.TempDir(), options)
			c.pod("only", "node1")
			for _, service := range c.service() {
				c.ask("only", service)
			}
		})
	}
}
