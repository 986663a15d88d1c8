// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

func everything(datapath.Attachment) bool { return true }

func podName(at datapath.Attachment) string {
	if at.Pod != "" {
		return at.Pod
	}
	return "sandbox " + at.Sandbox
}

// cutOff takes the links of pods down, which nothing can undo but this agent,
// and has the container runtime stop them, so that they are made anew. It
// returns those that are not cut off yet: dying links, and allocations that
// have no link yet.
func (a *Agent) cutOff(why string, which func(datapath.Attachment) bool) ([]string, error) {
	attachments, err := a.Kernel.Dump()
	if err != nil {
		return nil, fmt.Errorf("reading the pods' interfaces: %w", err)
	}
	linked := map[addresses.Key]bool{}
	var left []string
	for _, at := range attachments {
		linked[keyOf(at)] = true
		if !which(at) {
			continue
		}
		if at.Dying {
			left = append(left, podName(at))
			continue
		}
		if at.Up {
			if err := a.Kernel.CutOff(at, true); err != nil {
				return nil, fmt.Errorf("cutting off pod %s: %w", podName(at), err)
			}
			a.hush()
			a.Metrics.cutOff.Inc()
			a.Log.Warn("cut off", "pod", podName(at), "addresses", at.Addresses, "because", why)
		}
		a.evictions.add(at.Sandbox, podName(at))
	}
	for _, key := range a.Ledger.Keys() {
		if !linked[key] && which(datapath.Attachment{Addresses: a.Ledger.Lookup(key)}) {
			left = append(left, "sandbox "+key.Sandbox)
		}
	}
	return left, nil
}

// hush begins the time after which nothing is heard any more of pods that are
// cut off.
func (a *Agent) hush() { a.quiet = a.Clock.Now() + datapath.Forgets }

// silent waits until then. Whoever acknowledges, joins anew or leaves before
// that would be heard with a packet that its kernel had kept: the others know
// the underlay address that it comes from.
func (a *Agent) silent() error {
	if left := a.quiet - a.Clock.Now(); left > 0 {
		return waitFor(left, "the kernel to forget what pods sent before they were cut off")
	}
	return nil
}
