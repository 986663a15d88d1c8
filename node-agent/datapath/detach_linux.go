// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Detach takes a pod's interface away: once it returns nil the addresses are
// not heard any more and may be given to another. An unknown one is no error.
//
// The link first joins the dying group, so that a crash leaves it marked; then
// its routes go, without which the source check drops what it still sends. The
// link itself is deleted behind, since the kernel takes long over it.
func (k *Kernel) Detach(network, sandbox, ifname string) error {
	name := hostName(k.opts.Prefix, network, sandbox, ifname)
	defer k.lockPod(name)()
	return k.do(func(w *worker) error {
		l, err := w.host.linkByName(name)
		if err != nil || l == nil {
			return err
		}
		a, ours := k.opts.attachment(*l)
		if !ours {
			return fmt.Errorf("detaching %s: interface %s is not ours: delete or rename it", ifname, name)
		}
		if err := k.detach(w, a); err != nil {
			return fmt.Errorf("detaching %s: %w", ifname, err)
		}
		return nil
	})
}

func (k *Kernel) detach(w *worker, a Attachment) error {
	if len(a.Addresses) == 0 { // cut short before it had a record: nothing was routed
		return w.host.deleteLink(a.Index)
	}
	err := w.host.send(linkMessage(unix.RTM_SETLINK, 0, a.Index).number(unix.IFLA_GROUP, dyingGroup))
	if errors.Is(err, unix.ENODEV) { // the runtime was quicker, and took the routes with it
		return nil
	}
	if err != nil {
		return fmt.Errorf("marking %s as dying: %w", a.HostIf, err)
	}
	if err := k.crash("dying"); err != nil {
		return err
	}
	if err := w.host.send(unroute(a)...); err != nil {
		return fmt.Errorf("removing the routes to %s: %w", a.HostIf, err)
	}
	if err := k.crash("unrouted"); err != nil {
		return err
	}
	select {
	case k.dying <- struct{}{}:
	default: // the reaper knows already
	}
	return nil
}

// unroute removes an attachment's routes, whatever source they name.
func unroute(a Attachment) []*message {
	var messages []*message
	for _, addr := range a.Addresses {
		r := podRouteSpec(a.Index, addr, netip.Addr{})
		messages = append(messages, routeMessage(unix.RTM_DELROUTE, 0, r).unless(unix.ESRCH))
	}
	return messages
}

const (
	// gather is how long the reaper waits for more links to delete at once.
	gather = 50 * time.Millisecond
	// retryAfter is how long to wait after a failure.
	retryAfter = time.Second
)

// reap deletes dying links in batches until the kernel is closed.
func (k *Kernel) reap(s *socket) {
	defer k.running.Done()
	defer s.close()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-k.dying:
		case <-k.closed:
			_ = s.deleteGroup(dyingGroup) // what fails is left to the next Open
			return
		}
		for wait.Reset(gather); ; wait.Reset(retryAfter) {
			select {
			case <-wait.C:
			case <-k.closed:
			}
			if s.deleteGroup(dyingGroup) == nil || k.isClosed() {
				break
			}
		}
	}
}

// CutOff takes an attachment's host side down, or brings it and its routes back.
func (k *Kernel) CutOff(a Attachment, down bool) error {
	name := hostName(k.opts.Prefix, a.Network, a.Sandbox, a.IfName)
	defer k.lockPod(name)()
	return k.do(func(w *worker) error {
		l, err := w.host.linkByName(name)
		if err != nil || l == nil {
			return err
		}
		now, ours := k.opts.attachment(*l)
		if !ours || len(now.Addresses) == 0 {
			return fmt.Errorf("cutting off %s: interface %s has no record of ours", a.IfName, name)
		}
		if down {
			// Routes go with the link; they are named for a kernel that keeps them.
			return w.host.send(append([]*message{linkMessage(unix.RTM_NEWLINK, 0, l.index).down()}, unroute(now)...)...)
		}
		if now.Dying {
			return nil
		}
		return k.bringUp(w, now)
	})
}

// bringUp brings a link up and puts back what it lost when it went down.
func (k *Kernel) bringUp(w *worker, a Attachment) error {
	if err := w.host.send(linkMessage(unix.RTM_NEWLINK, 0, a.Index).up()); err != nil {
		return fmt.Errorf("bringing %s up: %w", a.HostIf, err)
	}
	return k.putBack(w, a)
}

// putBack adds an attachment's routes and neighbours. It never replaces a route
// that leads elsewhere.
func (k *Kernel) putBack(w *worker, a Attachment) error {
	node := k.node.Load()
	_, mac := macs(a.Network, a.Sandbox, a.IfName)
	for _, addr := range a.Addresses {
		// Routes that differ only in their source stand beside each other in
		// no table: take ours away first.
		flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL)
		messages := hostSide(flags, a.Index, addr, mac, node.source(addr))
		err := w.host.send(messages...)
		if errors.Is(err, unix.EEXIST) {
			err = k.replaceRoute(w, a, addr, node.source(addr))
		}
		if err != nil {
			return fmt.Errorf("routing %s to %s: %w", addr, a.HostIf, err)
		}
	}
	return nil
}

// replaceRoute gives a route of this attachment another source, and fails if
// the route that stands leads elsewhere.
func (k *Kernel) replaceRoute(w *worker, a Attachment, addr, src netip.Addr) error {
	routes, err := w.host.routes()
	if err != nil {
		return err
	}
	host := netip.PrefixFrom(addr, addr.BitLen())
	at := slices.IndexFunc(routes, func(r routeSpec) bool { return r.dst == host && r.oif == a.Index })
	if at < 0 {
		return fmt.Errorf("%w: it is routed elsewhere", unix.EEXIST)
	}
	if routes[at].src == src {
		return nil
	}
	return w.host.send(routeMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, podRouteSpec(a.Index, addr, src)))
}
