// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver_test

import (
	"testing"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// The museum's failures of when an address is free again; test/museum takes the
// guards out.

// ovn-kubernetes#5798, amazon-vpc-cni-k8s#1939, containerd#5768: a deletion that
// returned early, or never came, left its address in use for ever. Here the
// address lives exactly as long as its interface, whatever the calls say.
func TestMuseum_ovn_kubernetes_5798_early_return_on_delete(t *testing.T) {
	s := newServer(t)
	for _, id := range []string{"a", "b"} {
		must(t, s, request("ADD", id))
	}
	s.kernel.detachErr = errKernel
	refuse(t, s, request("DEL", "a"), 11, "the kernel said no")
	s.kernel.detachErr = nil
	s.expect(t, 2, 2) // it has its interface, and so its address
	// No DEL comes any more: the sandbox's network namespace goes.
	for _, id := range []string{"a", "b"} {
		link := s.kernel.links[keyOf(id)]
		delete(s.kernel.links, keyOf(id))
		s.Gone(link)
	}
	s.expect(t, 0, 0)
	// A late DEL, and its repetition, succeed without a namespace.
	late := request("DEL", "a")
	late.NetNS = ""
	for range 2 {
		must(t, s, late)
	}
}

// whereabouts#176: a late cleanup hit what had been revived. Here the news that
// an interface is gone come after it was made anew.
func TestMuseum_whereabouts_207_late_news(t *testing.T) {
	s := newServer(t)
	must(t, s, request("ADD", "a"))
	former := s.kernel.links[keyOf("a")]
	must(t, s, request("DEL", "a"))
	must(t, s, request("ADD", "a"))
	s.Gone(former)
	s.expect(t, 1, 1)
}

// spiderpool#2526, kube-ovn#4304, amazon-vpc-cni-k8s#711, #3019: what was in use
// was collected against a partial view. Here a list that is missing is not taken
// for an empty one, and what is dying already or another network's is left alone.
func TestMuseum_spiderpool_2526_collection_on_a_partial_view(t *testing.T) {
	s := newServer(t)
	for _, id := range []string{"a", "b"} {
		must(t, s, request("ADD", id))
	}
	refuse(t, s, request("GC", ""), 7, "nothing is removed")
	s.expect(t, 2, 2)
	one := wire.Request{Command: "GC", Stdin: []byte(`{"cniVersion":"1.1.0","name":"net","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}`)}
	must(t, s, one)
	s.expect(t, 1, 1)
}
