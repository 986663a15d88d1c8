// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"fmt"
	"time"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// Sandboxes stops pods. The kubelet makes them anew, with new addresses.
type Sandboxes interface {
	// Stop ends a sandbox; nil if there is none of that id.
	Stop(ctx context.Context, id string) error
}

const (
	// stopTimeout bounds one call of the container runtime.
	stopTimeout = 30 * time.Second
	// stopAgain is when a sandbox that is still there is asked to stop again.
	stopAgain = time.Minute
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
func (a *Agent) cutOff(ctx context.Context, why string, which func(datapath.Attachment) bool) ([]string, error) {
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
			a.Metrics.cutOff.Inc()
			a.Log.Warn("cut off", "pod", podName(at), "addresses", at.Addresses, "because", why)
		}
		a.stop(ctx, at.Sandbox)
	}
	for _, key := range a.Ledger.Keys() {
		if !linked[key] && which(datapath.Attachment{Addresses: a.Ledger.Lookup(key)}) {
			left = append(left, "sandbox "+key.Sandbox)
		}
	}
	return left, nil
}

// stop asks the runtime to end a sandbox, beside the loop: a runtime that hangs
// holds nothing up, since the link is down already.
func (a *Agent) stop(ctx context.Context, sandbox string) {
	if a.Sandboxes == nil {
		return
	}
	now := a.Clock.Now()
	if last, asked := a.stopping.Load(sandbox); asked && now-last.(time.Duration) < stopAgain {
		return
	}
	a.stopping.Store(sandbox, now)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := a.Sandboxes.Stop(ctx, sandbox); err != nil {
			a.Log.Warn("the container runtime did not stop a sandbox: its network is down all the same", "sandbox", sandbox, "error", err)
		}
		a.kick()
	}()
}
