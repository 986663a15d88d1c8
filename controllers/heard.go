// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import "time"

// heard remembers since when each peer's Lease has been seen unchanged. It
// serves what people read; decisions have ownership.Memory.
type heard map[string]struct {
	version string
	since   time.Duration
}

// observe takes in a view. One from a lagging cache may make a Lease look
// younger than it is, never older: every resourceVersion is unique.
func (h heard) observe(v *View, now time.Duration) {
	for i := range v.Leases {
		l := &v.Leases[i]
		if was, ok := h[l.Name]; !ok || was.version != l.Version {
			h[l.Name] = struct {
				version string
				since   time.Duration
			}{l.Version, now}
		}
	}
	if len(h) > 2*len(v.Leases)+64 {
		for name := range h {
			if _, ok := v.leases[name]; !ok {
				delete(h, name)
			}
		}
	}
}

// silent is for how long the peer's Lease has been watched unchanged.
func (h heard) silent(peer string, now time.Duration) time.Duration {
	was, ok := h[peer]
	if !ok {
		return 0
	}
	return now - was.since
}
