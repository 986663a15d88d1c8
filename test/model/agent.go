// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// cutOffReport is what the agent's Lease says.
func (h *Host) cutOffReport() []string { return slices.Sorted(maps.Keys(h.cut)) }

// TakeRead begins to take the Lease: it reads it, or its absence.
func (w *World) TakeRead(h *Host) {
	if !w.reaches(h) || h.Mode == Waiting || h.Mode == Regressed || h.Mode == Fenced {
		return
	}
	l := w.Store.leases[h.Name]
	h.taking, h.listed = &l, false
}

// TakeWrite ends it: after the consistent LISTs, by a compare-and-swap of
// exactly what was read. Of another incarnation's run nothing is taken. Where
// there is none there is nothing to compare: one is made, sealed, and taking it
// begins anew.
func (w *World) TakeWrite(h *Host) {
	if !w.reaches(h) || h.taking == nil || !h.listed {
		return
	}
	read := *h.taking
	h.taking = nil
	if h.Mode != Joining && h.Mode != Serving {
		return
	}
	if read.Version != "" && read.Holder != Sealed && holderUID(read.Holder) != h.uid {
		return
	}
	if read.Version == "" && !w.TakesAbsent {
		absent := ownership.Lease{Holder: Sealed, Duration: w.Duration}
		absent.Name = h.Name
		_, _ = w.Store.PutLease(read, absent) // if it is there by now, all the better
		return
	}
	sent := w.clock(h)
	got, err := w.Store.PutLease(read, w.leaseOf(h))
	if err != nil {
		return
	}
	h.lease, h.until, h.Mode = got, sent+w.good(), Serving
	w.checkHolder(h)
}

func holderUID(holder string) string {
	for i := range holder {
		if holder[i] == '/' {
			return holder[:i]
		}
	}
	return holder
}

func (w *World) leaseOf(h *Host) ownership.Lease {
	l := ownership.Lease{Holder: fmt.Sprintf("%s/%d", h.uid, h.run), Duration: w.Duration, CutOff: h.cutOffReport(), Term: h.term}
	l.Name = h.Name
	return l
}

// good is how long a renewal lets an agent allocate, on its own clock.
func (w *World) good() time.Duration { return w.Duration - w.Duration/10 }

// RenewSend sends a renewal, based on the one before.
func (w *World) RenewSend(h *Host) {
	if !w.reaches(h) || h.lease.Version == "" || h.Mode == Waiting || h.Mode == Fenced || h.Mode == Regressed || len(h.sent) > 1 {
		return
	}
	h.sent = append(h.sent, renewal{read: h.lease, want: w.leaseOf(h), sent: w.clock(h)})
}

// RenewLand is the oldest renewal's arrival at the API server, however late.
func (w *World) RenewLand(h *Host) {
	if len(h.sent) == 0 {
		return
	}
	r := h.sent[0]
	h.sent = h.sent[1:]
	got, err := w.Store.PutLease(r.read, r.want)
	if err != nil {
		return
	}
	if holderUID(r.want.Holder) == h.uid {
		w.checkHolder(h)
	}
	if h.On && h.Mode != Stopped && r.want.Holder == w.leaseOf(h).Holder {
		h.lease = got
		h.until = max(h.until, r.sent+w.good())
	}
}

// Allocate gives a free address of the host's own ranges to a new pod.
func (w *World) Allocate(h *Host) (netip.Addr, bool) {
	if !w.MayAllocate(h) {
		return netip.Addr{}, false
	}
	for i := range h.own {
		r := &h.own[i]
		if a, ok := w.freeAddress(h, r); ok {
			w.minted++
			h.pods[a] = fmt.Sprintf("pod-%d", w.minted)
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (w *World) freeAddress(h *Host, r *ownership.Range) (netip.Addr, bool) {
	part := r.CIDR
	if r.Keep != nil {
		part = *r.Keep
	}
	if r.Sealed != nil && r.Sealed.Epoch == r.Epoch && (!r.Sealed.Keep.IsValid() || r.Sealed.Keep.Bits() > part.Bits()) {
		part = r.Sealed.Keep
	}
	if !part.IsValid() {
		return netip.Addr{}, false
	}
	for a := part.Addr(); part.Contains(a); a = a.Next() {
		if h.pods[a] == "" && !slices.ContainsFunc(r.Reserved, func(res ownership.Reservation) bool { return res.Address == a }) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// PostPod is the kubelet's writing of a pod's address into its status.
func (w *World) PostPod(h *Host, a netip.Addr) {
	if uid := h.pods[a]; uid != "" {
		w.Store.PutPod(ownership.Pod{UID: uid, Namespace: "default", Name: uid, Node: h.Name, Addresses: []netip.Addr{a}})
	}
}

// Release ends the pod that holds a.
func (w *World) Release(h *Host, a netip.Addr) {
	if uid := h.pods[a]; uid != "" {
		w.Store.DeletePod(uid)
		delete(h.pods, a)
	}
}

// PowerOff ends everything on the machine.
func (w *World) PowerOff(h *Host) {
	h.On = false
	h.Mode = Stopped
	clear(h.pods)
	h.own, h.until, h.taking = nil, 0, nil
}

// StopAgent ends the process; the kernel goes on.
func (w *World) StopAgent(h *Host) {
	if h.Mode != Stopped {
		h.Mode, h.until, h.taking = Stopped, 0, nil
	}
}
