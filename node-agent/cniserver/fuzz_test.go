// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package cniserver_test

import (
	"encoding/json"
	"testing"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// FuzzHandle: whatever a call says, the answer is one of the specification's,
// and nothing stays behind of a failure.
func FuzzHandle(f *testing.F) {
	f.Add("ADD", "pod", "/run/netns/pod", "eth0", "K8S_POD_NAME=a", []byte(`{"cniVersion":"1.1.0","name":"net"}`))
	f.Add("ADD", "pod", "/run/netns/pod", "eth0", "IP=10.0.0.1", []byte(`{"cniVersion":"0.3.1","name":"net","runtimeConfig":{"ips":["10.0.0.1/24"]}}`))
	f.Add("CHECK", "pod", "/run/netns/pod", "eth0", "", []byte(`{"cniVersion":"0.4.0","name":"net","prevResult":{"ips":[{"version":"4","address":"10.0.0.1/32"}]}}`))
	f.Add("GC", "", "", "", "", []byte(`{"cniVersion":"1.1.0","name":"net","cni.dev/valid-attachments":[{}]}`))
	f.Add("VERSION", "", "", "", "", []byte(`{"cniVersion":7}`))
	f.Add("DEL", "\x00", "", "../../x", "=;=", []byte("garbage"))
	f.Fuzz(func(t *testing.T, command, id, netns, ifname, args string, stdin []byte) {
		s := newServer(t)
		reply := s.Handle(wire.Request{Command: command, ContainerID: id, NetNS: netns, IfName: ifname, Args: args, Stdin: stdin})
		if len(reply.Stdout) > 0 && !json.Valid(reply.Stdout) {
			t.Fatalf("not JSON: %q", reply.Stdout)
		}
		added := reply.Exit == 0 && command == "ADD"
		if reply.Exit != 0 {
			var e struct {
				Code uint
				Msg  string
			}
			if json.Unmarshal(reply.Stdout, &e) != nil || e.Code == 0 || e.Msg == "" {
				t.Errorf("not an error of CNI's: %q", reply.Stdout)
			}
		}
		if held := len(s.ledger.Keys()); (held == 1) != added || held != len(s.kernel.links) {
			t.Errorf("%s, exit %d: %d held, %d links", command, reply.Exit, held, len(s.kernel.links))
		}
	})
}
