// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// kernel is a process's access to its host's kernel, which outlives it.
type kernel struct {
	h *Host
	p *process
	// spared are the sandboxes that LeaveUp has left up.
	spared map[string]bool
}

// Watch is membership.Kernel.Watch. News comes later, as from netlink.
func (k *kernel) Watch(_ context.Context, onGone func(datapath.Attachment)) ([]datapath.Attachment, error) {
	k.h.onGone = func(at datapath.Attachment) {
		var tell func()
		tell = func() {
			if k.h.agent != nil && k.h.agent.adding[at.Sandbox] {
				k.p.w.after(time.Second, k.p, tell) // it would wait for that to end
				return
			}
			onGone(at)
		}
		k.p.w.after(k.p.link.latency(), k.p, tell)
	}
	return k.Dump()
}

// Dump is membership.Kernel.Dump.
func (k *kernel) Dump() ([]datapath.Attachment, error) {
	if k.p.dead {
		return nil, errStopped
	}
	all, err := k.h.kernel.Dump()
	for i := range all {
		all[i].Up = all[i].Up && !k.spared[all[i].Sandbox]
	}
	return all, err
}

// CutOff is membership.Kernel.CutOff.
func (k *kernel) CutOff(a datapath.Attachment, down bool) error {
	if k.p.dead {
		return errStopped
	}
	if k.p.w.Mutation == LeaveUp && down {
		k.spared[a.Sandbox] = true
		return nil
	}
	err := k.h.kernel.CutOff(a, down)
	k.p.w.checks.dirty = true
	return err
}

// Underlay is membership.Kernel.Underlay.
func (k *kernel) Underlay(nodeAddrs []netip.Addr) ([]netip.Addr, string, error) {
	if k.p.dead {
		return nil, "", errStopped
	}
	return k.h.kernel.Underlay(nodeAddrs)
}

// Set is membership.Kernel.Set.
func (k *kernel) Set(d datapath.Desired) error {
	if k.p.dead {
		return errStopped
	}
	if k.p.w.Mutation == HearAll {
		d.Complete = false
	}
	k.p.w.checks.dirty = true
	return k.h.kernel.Set(d)
}

// Attach is cniserver.Kernel.Attach. It takes its time, before or after it is
// done.
func (k *kernel) Attach(req datapath.AttachRequest) (datapath.Interfaces, error) {
	t := k.p.w.current
	early := k.p.random.IntN(2) == 0
	pause := time.Duration(k.p.random.Int64N(int64(30 * time.Millisecond)))
	if early && !t.sleep(pause) || k.p.dead {
		return datapath.Interfaces{}, errStopped
	}
	got, err := k.h.kernel.Attach(req)
	k.p.w.checks.dirty = true
	if !early && !t.sleep(pause) {
		return datapath.Interfaces{}, errStopped
	}
	return got, err
}

// Detach is cniserver.Kernel.Detach.
func (k *kernel) Detach(_, sandbox, _ string) error {
	if k.p.dead {
		return errStopped
	}
	k.h.unlink(sandbox)
	return nil
}

// Lookup is cniserver.Kernel.Lookup.
func (k *kernel) Lookup(network, sandbox, ifname string) (datapath.Attachment, bool, error) {
	if k.p.dead {
		return datapath.Attachment{}, false, errStopped
	}
	return k.h.kernel.Lookup(network, sandbox, ifname)
}

// Check is cniserver.Kernel.Check.
func (k *kernel) Check(a datapath.Attachment) error { return k.h.kernel.Check(a) }

// runtime is the container runtime.
type runtime struct {
	h *Host
	p *process
}

// Stop is membership.Sandboxes.Stop. Several are called at a time: what they ask
// for is done in an order of its own afterwards.
func (r *runtime) Stop(_ context.Context, id string) error {
	if r.p.dead {
		return errStopped
	}
	if r.p.w.Mutation == LeaveUp {
		return nil
	}
	r.h.stopping.Lock()
	defer r.h.stopping.Unlock()
	r.h.stops[id] = true
	return nil
}

// disk is a host's, which outlives its processes.
type disk struct {
	data []byte
	full bool
	// record is what the data says.
	record membership.Record
}

var errFull = errors.New("no space left on device")

// access is a process's access to the disk.
type access struct {
	*disk
	p *process
}

// Read is membership.Disk.Read.
func (a access) Read() ([]byte, error) {
	if a.p.w.Mutation == ForgetFences {
		return withoutFences(a.data), nil
	}
	return a.data, nil
}

// Replace is membership.Disk.Replace.
func (a access) Replace(data []byte) error {
	switch {
	case a.p.dead:
		return errStopped
	case a.full && a.p.random.IntN(2) == 0:
		return errFull
	}
	a.set(data)
	a.p.w.checks.dirty = true
	if a.full {
		return errFull // after all
	}
	return nil
}

func (d *disk) set(data []byte) {
	d.data, d.record = data, membership.Record{}
	if data != nil {
		d.record, _ = membership.ParseRecord(data)
	}
}

// Remove is membership.Disk.Remove.
func (a access) Remove() error {
	if a.p.dead {
		return errStopped
	}
	a.set(nil)
	return nil
}

// Close is membership.Disk.Close.
func (a access) Close() error { return nil }

func (a access) String() string { return "the disk of " + a.p.name }

// ledger is the real one, watched.
type ledger struct {
	*addresses.Ledger
	h *Host
	p *process
	// keys and set are what touched compares; moved: the keys may have changed.
	keys       int
	set, moved bool
}

// SetRanges is membership.Ledger.SetRanges.
func (l *ledger) SetRanges(ranges []addresses.Range) {
	if l.p.dead {
		return
	}
	for _, r := range ranges {
		l.p.w.checks.acts(l.h, r.UID, r.Epoch)
	}
	l.set = true
	l.Ledger.SetRanges(ranges)
}

// Hold is membership.Ledger.Hold.
func (l *ledger) Hold(k addresses.Key, addrs []netip.Addr) {
	l.moved = true
	l.Ledger.Hold(k, addrs)
}

// touched reports whether what is used may have changed since the last time.
func (l *ledger) touched() bool {
	touched := l.set
	l.set = false
	if l.moved || l.h.agent != nil && len(l.h.agent.adding) > 0 {
		l.moved = false
		keys := len(l.Keys())
		touched = touched || keys != l.keys
		l.keys = keys
	}
	return touched
}
