// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"reflect"
	"strings"
	"testing"
)

func TestAlias(t *testing.T) {
	sandbox := strings.Repeat("0123456789abcdef", 4)
	for name, tt := range map[string]struct {
		in   Attachment
		want string
	}{
		"one": {
			Attachment{Network: "selvage", Sandbox: sandbox, IfName: "eth0", Pod: "default/web", Addresses: addrs("10.32.0.5")},
			"selvage/1 10.32.0.5 selvage " + sandbox + " eth0 default/web",
		},
		"both families": {
			Attachment{Network: "selvage", Sandbox: "s", IfName: "eth0", Pod: "a/b", Addresses: addrs("10.32.0.5", "fd00:10::5")},
			"selvage/1 10.32.0.5,fd00:10::5 selvage s eth0 a/b",
		},
		"no pod":       {Attachment{Network: "n", Sandbox: "s", IfName: "eth0", Addresses: addrs("fd00::1")}, "selvage/1 fd00::1 n s eth0"},
		"odd network":  {Attachment{Network: "a b%\n", Sandbox: "s", IfName: "eth0", Addresses: addrs("fd00::1")}, "selvage/1 fd00::1 a%20b%25%0a s eth0"},
		"long pod":     {Attachment{Network: "n", Sandbox: "s", IfName: "eth0", Pod: strings.Repeat("p", 300), Addresses: addrs("fd00::1")}, "selvage/1 fd00::1 n s eth0 " + strings.Repeat("p", 228)},
		"cut escape":   {Attachment{Network: "n", Sandbox: "s", IfName: "eth0", Pod: strings.Repeat("ü", 300), Addresses: addrs("fd00::1")}, "selvage/1 fd00::1 n s eth0 " + strings.Repeat("%c3%bc", 38)},
		"no room left": {Attachment{Network: strings.Repeat("n", 228), Sandbox: "s", IfName: "eth0", Pod: "p/p", Addresses: addrs("fd00::1")}, "selvage/1 fd00::1 " + strings.Repeat("n", 228) + " s eth0 p"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := formatAlias(tt.in)
			if err != nil || got != tt.want {
				t.Fatalf("got %q (%d bytes), %v\nwant %q", got, len(got), err, tt.want)
			}
			back, err := parseAlias(got)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(tt.in.Pod, back.Pod) {
				t.Errorf("the pod came back as %q", back.Pod)
			}
			back.Pod = tt.in.Pod
			if !reflect.DeepEqual(back, tt.in) {
				t.Errorf("came back as %+v", back)
			}
		})
	}
}

func TestAliasRefuses(t *testing.T) {
	for name, a := range map[string]Attachment{
		"no address":       {Network: "n", Sandbox: "s", IfName: "eth0"},
		"one family twice": {Network: "n", Sandbox: "s", IfName: "eth0", Addresses: addrs("10.0.0.1", "10.0.0.2")},
		"three":            {Network: "n", Sandbox: "s", IfName: "eth0", Addresses: addrs("10.0.0.1", "fd00::1", "fd00::2")},
		"mapped":           {Network: "n", Sandbox: "s", IfName: "eth0", Addresses: addrs("::ffff:10.0.0.1")},
		"zone":             {Network: "n", Sandbox: "s", IfName: "eth0", Addresses: addrs("fe80::1%eth0")},
		"no sandbox":       {Network: "n", IfName: "eth0", Addresses: addrs("10.0.0.1")},
		"too long":         {Network: strings.Repeat("n", 240), Sandbox: "s", IfName: "eth0", Addresses: addrs("10.0.0.1")},
	} {
		if got, err := formatAlias(a); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
	for _, s := range []string{
		"", "selvage/1", "selvage/2 10.0.0.1 n s eth0", "selvage/1 10.0.0.01 n s eth0", "selvage/1 10.0.0.1  s eth0", "selvage/1 10.0.0.1 n s eth0 p q",
		"selvage/1 10.0.0.1, n s eth0", "selvage/1 10.0.0.1 n%zz s eth0", "selvage/1 10.0.0.1 n%61 s eth0", "selvage/1 10.0.0.1 n%0 s eth0", "selvage/1 10.0.0.1 n s eth0 " + strings.Repeat("p", 255),
	} {
		if a, err := parseAlias(s); err == nil {
			t.Errorf("%q was read as %+v", s, a)
		}
	}
}

// FuzzParseAlias: whatever is read is written the same way again.
func FuzzParseAlias(f *testing.F) {
	f.Add("selvage/1 10.32.0.5,fd00:10::5 selvage 0123 eth0 default/web")
	f.Add("selvage/1 fd00::1 a%20b%25%0a s eth0")
	f.Add("selvage/1 10.0.0.1 n s eth0 %")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAlias(s)
		if err != nil {
			return
		}
		again, err := formatAlias(a)
		if err != nil || again != s {
			t.Fatalf("%q was read as %+v and written as %q, %v", s, a, again, err)
		}
	})
}

// FuzzInterfaceName: nothing gets by that the kernel would refuse or that leads
// out of a directory.
func FuzzInterfaceName(f *testing.F) {
	f.Add("eth0")
	f.Add("a/b")
	f.Fuzz(func(t *testing.T, s string) {
		if interfaceName(s) == nil && (len(s) == 0 || len(s) > 15 || strings.ContainsAny(s, "/ :\x00")) {
			t.Fatalf("%q was taken for an interface's name", s)
		}
	})
}

func TestNames(t *testing.T) {
	name := hostName("sv", "selvage", "sandbox", "eth0")
	if len(name) != maxName || !strings.HasPrefix(name, "sv") || name != hostName("sv", "selvage", "sandbox", "eth0") {
		t.Errorf("host name %q", name)
	}
	for _, other := range [][3]string{{"selvag", "esandbox", "eth0"}, {"selvage", "sandboxe", "th0"}, {"selvage", "sandbox", "eth1"}} {
		if hostName("sv", other[0], other[1], other[2]) == name {
			t.Errorf("%v has the name of another", other)
		}
	}
	host, pod := macs("selvage", "sandbox", "eth0")
	if host[0]&3 != 2 || pod[0]&3 != 2 || host.String() == pod.String() {
		t.Errorf("hardware addresses %s and %s: want two that are local and no group's", host, pod)
	}
	if got := vtepMAC(addrs("192.168.77.1")[0]).String(); got != "5a:5e:c0:a8:4d:01" || takesDirect(got) || !takesDirect("52:54:00:12:34:56") || takesDirect("x") {
		t.Errorf("VTEP %s", got)
	}
	if got := linkLocal(vtepMAC(addrs("192.168.77.1")[0])); got != addrs("fe80::585e:c0ff:fea8:4d01")[0] {
		t.Errorf("link-local %s", got)
	}
}
