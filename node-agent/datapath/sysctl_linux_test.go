// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestReadOnlySysctls: with the right values a read-only /proc/sys will do; with
// a wrong one the error names the remedy. It runs itself again in mounts of its
// own.
func TestReadOnlySysctls(t *testing.T) {
	needRoot(t)
	if want, inside := os.LookupEnv("SELVAGE_TEST_READ_ONLY"); inside {
		readOnlySysctls(t, want)
		return
	}
	for _, value := range []string{"0", "1"} {
		host := newNamespace(t, "host")
		host.enter(func() {
			for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
				_ = os.WriteFile("/proc/sys/net/"+f, []byte(value), 0)
			}
		})
		cmd := exec.Command("unshare", "--mount", "sh", "-c", "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec \"$0\" -test.v -test.run=^TestReadOnlySysctls$", os.Args[0])
		cmd.Env = append(os.Environ(), "SELVAGE_TEST_READ_ONLY="+value+host.path)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "read-only: seen") {
			t.Errorf("forwarding=%s: %v\n%s", value, err, out)
		}
	}
}

func readOnlySysctls(t *testing.T, what string) {
	k, err := Open(Options{NetNS: what[1:]})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	pod := newNamespace(t, "pod")
	for _, address := range []string{"10.32.1.1", "fd10::1"} {
		req := request(pod, address)
		req.Sandbox = address
		req.IfName = map[bool]string{true: "eth0", false: "eth1"}[strings.HasPrefix(address, "10")]
		_, err = k.Attach(req)
		if what[0] == '1' && err != nil {
			t.Errorf("with the right value: %v", err)
		}
		if what[0] == '0' && (err == nil || !strings.Contains(err.Error(), "sysctl -w net.ipv") || !strings.Contains(err.Error(), "--sysctl-dir")) {
			t.Errorf("with the wrong value: %v", err)
		}
	}
	t.Log("read-only: seen")
}

// TestForwardingKeepsTheDefaultRoute: a host that takes routers' advertisements
// still does when it forwards.
func TestForwardingKeepsTheDefaultRoute(t *testing.T) {
	t.Parallel()
	needRoot(t)
	host := newNamespace(t, "host")
	host.run("ip link add eth0 type veth peer name other")
	k := open(t, host, Options{})
	if err := k.forward(true); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(host.run("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")); got != "2" {
		t.Errorf("accept_ra is %s", got)
	}
}
