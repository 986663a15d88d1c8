// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"net/netip"
)

// Kernel is the datapath of the host it was opened in. All methods are safe for
// concurrent use.
type Kernel struct {
	opts Options
}

var errUnfinished = errors.New("datapath: not yet")

// Open prepares the datapath in the caller's network namespace (or that of
// opts.NetNS), and finishes what an earlier process left dying.
func Open(opts Options) (*Kernel, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Kernel{opts: opts}, nil
}

// Attach gives a pod its interface. It may be repeated; failure leaves nothing
// behind.
func (k *Kernel) Attach(req AttachRequest) (Interfaces, error) { return Interfaces{}, errUnfinished }

// Detach takes a pod's interface away: once it returns nil the addresses are
// not heard any more and may be given to another. An unknown one is no error.
func (k *Kernel) Detach(network, sandbox, ifname string) error { return errUnfinished }

// Lookup reads one attachment from the kernel; false if there is none.
func (k *Kernel) Lookup(network, sandbox, ifname string) (Attachment, bool, error) {
	return Attachment{}, false, errUnfinished
}

// Check verifies that an attachment is as Attach made it.
func (k *Kernel) Check(a Attachment) error { return errUnfinished }

// Watch subscribes to interfaces going, then returns all that are there, the
// dying ones included. From then on, until ctx ends, each attachment whose link
// is gone is reported, from one goroutine. A key whose link was replaced by a
// live one is not reported.
func (k *Kernel) Watch(ctx context.Context, onGone func(Attachment)) ([]Attachment, error) {
	return nil, errUnfinished
}

// Dump reads all attachments from the kernel, the dying ones included.
func (k *Kernel) Dump() ([]Attachment, error) { return nil, errUnfinished }

// CutOff takes an attachment's host side down, or brings it and its routes back.
func (k *Kernel) CutOff(a Attachment, down bool) error { return errUnfinished }

// Underlay says what to report to the other peers: those of the node's
// addresses that this host has, the one that tunnels use first, and the
// hardware address of its VTEP (of its network card where direct traffic is
// taken).
func (k *Kernel) Underlay(nodeAddrs []netip.Addr) (addrs []netip.Addr, mac string, err error) {
	return nil, "", errUnfinished
}

// Set brings the kernel to the desired state: it reads, plans and applies. It
// is idempotent and is to be called again from time to time, since others
// (network managers, people) change the kernel too.
func (k *Kernel) Set(d Desired) error { return errUnfinished }

// Missing lists, for people, features that this kernel lacks and that the
// datapath does without.
func (k *Kernel) Missing() []string { return nil }

// Close gives up the handles. It changes nothing in the kernel: pods keep
// talking.
func (k *Kernel) Close() error { return nil }
