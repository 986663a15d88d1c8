// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"syscall"
	"testing"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// FuzzExchange: whatever comes back on the agent's socket is either just one
// reply, taken as it is, or an error that the plugin can say as CNI's.
func FuzzExchange(f *testing.F) {
	frame, _ := wire.AppendReply(nil, wire.Reply{Exit: 1, Stdout: []byte("{}")})
	f.Add(frame)
	f.Add(frame[:5])
	f.Add([]byte("SLV1\x00\x00\x00\x00"))
	f.Add([]byte("SLV1\x00\x40\x00\x00"))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if len(answer) > 64<<10 {
			return // more than the socket takes at once
		}
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(pair[0])
		if err := writeAll(pair[1], answer); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Shutdown(pair[1], syscall.SHUT_WR)
		defer syscall.Close(pair[1])
		reply, err := exchange(pair[0], []byte("request"))
		if err != nil {
			for _, command := range []string{"ADD", "DEL", "CHECK", "STATUS", "VERSION", "x"} {
				if said, ok := away(command, t.TempDir(), err); !ok && !json.Valid(said.Stdout) {
					t.Errorf("%s: not JSON: %q", command, said.Stdout)
				}
			}
			return
		}
		again, err := wire.AppendReply(nil, reply)
		if err != nil || !bytes.HasPrefix(answer, again) {
			t.Errorf("%q was taken for %+v", answer, reply)
		}
	})
}
