// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"testing"
	"time"
)

// TestWatch: whatever way a link goes, its attachment is reported, once, also
// when the kernel's news were lost; those that stay are not.
func TestWatch(t *testing.T) {
	needRoot(t)
	t.Parallel()
	k := open(t, newNamespace(t, "host"), Options{})
	k.watchBuffer = 1 // the kernel rounds it up to its least, which a few links overrun
	var pods []*namespace
	for i := range 20 {
		pod := newNamespace(t, fmt.Sprint("pod", i))
		if _, err := k.Attach(request(pod, fmt.Sprint("10.32.2.", i))); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
	}
	gone, hold := make(chan string, 100), make(chan struct{})
	all, err := k.Watch(t.Context(), func(a Attachment) { gone <- a.Sandbox; <-hold })
	if err != nil || len(all) != len(pods) {
		t.Fatalf("found %d pods, %v", len(all), err)
	}
	pods[0].remove() // the runtime was quicker than DEL, or DEL never comes
	if got := <-gone; got != pods[0].name {
		t.Fatalf("%s was reported gone", got)
	}
	// The watcher is busy now, and what happens overruns its buffer.
	want := map[string]bool{}
	stay := 0
	for i, pod := range pods[1:] {
		switch i % 3 {
		case 0:
			stay++
			continue
		case 1:
			pod.remove()
		default:
			if err := k.Detach("selvage", pod.name, "eth0"); err != nil {
				t.Fatal(err)
			}
		}
		want[pod.name] = true
	}
	eventually(t, "all links gone", func() bool {
		all, err := k.Dump()
		return err == nil && len(all) == stay
	})
	close(hold)
	for len(want) > 0 {
		select {
		case name := <-gone:
			if !want[name] {
				t.Errorf("%s was reported gone, and is there, or was reported before", name)
			}
			delete(want, name)
		case <-time.After(patience):
			t.Fatalf("never reported: %v", want)
		}
	}
}

// TestReplacedIsNotGone: when an attachment is made anew while its link dies,
// the old link's going is no news of the attachment.
func TestReplacedIsNotGone(t *testing.T) {
	needRoot(t)
	t.Parallel()
	k := open(t, newNamespace(t, "host"), Options{})
	again, last := newNamespace(t, "again"), newNamespace(t, "last")
	gone := make(chan string, 10)
	if _, err := k.Watch(t.Context(), func(a Attachment) { gone <- a.Sandbox }); err != nil {
		t.Fatal(err)
	}
	attach := func(n *namespace) {
		if _, err := k.Attach(request(n, "10.32.1.1")); err != nil {
			t.Fatal(err)
		}
	}
	attach(again)
	if err := k.Detach("selvage", again.name, "eth0"); err != nil {
		t.Fatal(err)
	}
	attach(again)
	// The watcher looks when it gets to it: it must find the new link live.
	before, _, err := k.Lookup("selvage", again.name, "eth0")
	if err != nil || before.Dying {
		t.Fatalf("%+v, %v", before, err)
	}
	req := request(last, "10.32.1.2")
	if _, err := k.Attach(req); err != nil {
		t.Fatal(err)
	}
	last.remove()
	if got := <-gone; got != last.name {
		t.Errorf("%s was reported gone, and is there", got)
	}
}
