// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"strings"
	"testing"
	"time"
)

// TestKernelForgets: what a pod has sent to a machine that did not answer is
// kept, and is sent when that machine answers, though the pod was cut off
// meanwhile: an agent that then joins anew is heard with it. After Forgets it is
// not.
func TestKernelForgets(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{VXLAN, Direct} {
		for _, f := range []families{{"IPv4", "4", "4"}, {"IPv6", "6", "6"}} {
			t.Run(mode+" "+f.name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, 2, f, Options{Encapsulation: mode})
				good, bad := l.hosts[0].pod(1), l.hosts[1].pod(1)
				if !l.heardLater(t, good, bad, 0) {
					t.Error("nothing was kept: the test shows nothing")
				}
				if l.heardLater(t, good, bad, Forgets) {
					t.Errorf("heard after %s", Forgets)
				}
			})
		}
	}
}

// heardLater says whether good hears what bad sent while the cable of bad's
// machine was cut, and who was cut off before the cable was mended.
func (l *lab) heardLater(t *testing.T, good, bad *pod, after time.Duration) bool {
	t.Helper()
	e := good.ear(good.addrs[0])
	e.mustHear(bad.namespace, bad.addrs[0])
	a, found, err := bad.host.k.Lookup(bad.req.Network, bad.req.Sandbox, bad.req.IfName)
	if err != nil || !found {
		t.Fatal(err)
	}
	cable := strings.Replace(bad.host.name[strings.LastIndex(bad.host.name, "host"):], "host", "h", 1)
	l.bridge.run("ip link set " + cable + " nomaster")
	bad.host.run("ip neigh flush dev eth0")
	bad.host.run("ip -6 neigh flush dev eth0")
	if e.hears(bad.namespace, bad.addrs[0], hush) {
		t.Fatal("heard over a cut cable")
	}
	if err := bad.host.k.CutOff(a, true); err != nil {
		t.Fatal(err)
	}
	<-time.After(after) // that time passes is all there is to it
	l.bridge.run("ip link set " + cable + " master br0 up")
	defer func() {
		if err := bad.host.k.CutOff(a, false); err != nil {
			t.Fatal(err)
		}
	}()
	return e.hearsAnything(4 * time.Second)
}

// hearsAnything says whether any packet arrives.
func (e *ear) hearsAnything(wait time.Duration) bool {
	e.t.Helper()
	_ = e.conn.SetReadDeadline(time.Now().Add(wait))
	_, _, err := e.conn.ReadFrom(make([]byte, 200))
	return err == nil
}
