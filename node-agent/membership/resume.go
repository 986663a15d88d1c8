// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// resume serves: same ranges, same addresses, nothing interrupted.
func (a *Agent) resume(ctx context.Context, s *sight) error {
	peer := s.peer(a.Name)
	if err := a.Store.Update(func(r *Record) {
		r.PeerUID, r.Acknowledged, r.Machine = string(peer.UID), 0, a.machine
		if a.nodeUID != "" {
			r.NodeUID = a.nodeUID
		}
	}); err != nil {
		return err
	}
	if err := a.follow(s, peer); err != nil {
		return err
	}
	if err := a.relink(); err != nil {
		return err
	}
	now := stance{peerUID: string(peer.UID)}
	if now.refuse = a.regression(); now.refuse != nil {
		now.waiting = now.refuse.Error()
	}
	a.settleStance(now)
	held := a.hold(ctx, s, string(peer.UID))
	var waiting *waitError
	if held != nil && !errors.As(held, &waiting) {
		return held
	}
	said := peer.Status.Agent != nil && peer.Status.Agent.Leaving
	if err := a.tell(ctx, s, peer, telling{suspended: a.trouble(now)}); err != nil {
		return err
	}
	if held != nil {
		return held
	}
	if err := a.stayed(s, said); err != nil {
		return err
	}
	return a.echo(s)
}

// regression is what the API has forgotten; nil: nothing.
func (a *Agent) regression() error {
	if a.world.regressed == "" {
		return nil
	}
	return fmt.Errorf(v1alpha1.ReasonStateRegressed+": %s. Was etcd restored from a backup? Pods keep running, nothing is allocated "+
		"until the API shows it again; to give up what this node was: selvage-agent reset", a.world.regressed)
}

// trouble is why a serving peer allocates nothing; empty: it does.
func (a *Agent) trouble(now stance) string {
	if a.lease.Cloned() {
		return errCloned.Error()
	}
	if now.refuse != nil {
		return now.refuse.Error()
	}
	return ""
}

// follow brings disk, kernel and ledger, in this order, to what the API says.
// It is common to Resume and Suspended.
func (a *Agent) follow(s *sight, peer *v1alpha1.Peer) error {
	uid := string(peer.UID)
	record := a.Store.Record()
	if a.world == nil || a.world.self != uid {
		if !s.Consistent {
			return errAgain
		}
		a.world, a.term = newWorld(uid, record.Ranges), ""
		a.lease.Drop(errNotTaken)
	}
	// Believing the view alone is for when a Lease is to be taken.
	a.world.fold(&s.View, a.Clock.Now(), s.Consistent && !a.lease.Held(), record)
	if a.world.unsettled() {
		return errAgain
	}
	if len(a.world.orphans) > 0 {
		a.dueIn(orphanGrace / 10)
	}
	if err := a.Store.Update(func(r *Record) { a.world.remember(r, a.heldByPod) }); err != nil {
		// What is not on disk is not allocated from; the rest goes on.
		a.Log.Error("new ranges are not taken on", "error", err)
		a.Metrics.failures.Inc()
	}
	if err := a.readUnderlay(s, peer); err != nil {
		return err
	}
	a.pools = s.poolCIDRs()
	record = a.Store.Record()
	if err := a.setKernel(a.world.desired(a.Name, a.underlay, a.pools, record)); err != nil {
		return err
	}
	a.families.Store(uint32(s.families()))
	a.Ledger.SetRanges(a.world.ledgerRanges(record))
	return a.cutForeign(s)
}

// heldByPod reports whether a pod has that address.
func (a *Agent) heldByPod(addr netip.Addr) bool {
	return !a.Ledger.Idle(netip.PrefixFrom(addr, addr.BitLen()))
}

// cutForeign cuts off pods whose addresses the API has given to another.
func (a *Agent) cutForeign(s *sight) error {
	foreign := func(at datapath.Attachment) bool { return slices.ContainsFunc(at.Addresses, a.world.foreign) }
	for _, key := range a.Ledger.Keys() {
		if !slices.ContainsFunc(a.Ledger.Lookup(key), a.world.foreign) {
			continue
		}
		if !s.Consistent {
			return errAgain
		}
		_, err := a.cutOff("its address is another peer's", foreign)
		return err
	}
	return nil
}

// hold takes the Lease, or has it say what was cut off. Its report rests on
// the kernel having been set.
func (a *Agent) hold(ctx context.Context, s *sight, uid string) error {
	if a.lease.Held() {
		a.sayOnLease()
		return nil
	}
	if a.lease.Cloned() {
		return nil // told in the report; waiting does not mend it
	}
	if !s.Consistent {
		return errAgain
	}
	if err := a.lease.Takeable(s.lease, uid); err != nil {
		a.mustLook.Store(true)
		return waitFor(2*time.Second, "%v", err)
	}
	// The term is only echoed together with what is held, which is told
	// later: the next renewal is early enough, unless nothing is held.
	a.term = ""
	if a.world.regressed == "" && len(a.world.own()) == 0 {
		a.term = s.term
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if s.lease == nil {
		if err := a.lease.Place(ctx); err != nil {
			return err
		}
		return errAgain
	}
	if err := a.Store.Update(func(r *Record) { a.lease.Ended(slices.Clone(r.ran(a.lease.run))) }); err != nil {
		// Nobody but a restored etcd ever asks for it.
		a.Log.Warn("this run is not remembered", "error", err)
	}
	if err := a.lease.Take(ctx, s.lease, uid, a.world.relevant, a.term); err != nil {
		a.mustLook.Store(true)
		return err
	}
	a.Log.Info("took the lease", "peer", uid, "cutOff", a.world.relevant)
	return nil
}

// echo says on the Lease which leader this agent has compared its memory for:
// after consistent LISTs have shown nothing lower or missing, and what is held
// has been told.
func (a *Agent) echo(s *sight) error {
	leader := a.leader.Load()
	if leader == nil || *leader == a.term || a.world.regressed != "" || !a.lease.Held() {
		return nil
	}
	if !s.Consistent {
		return errAgain
	}
	a.term = s.term
	a.sayOnLease()
	return nil
}

// sayOnLease reports at once, and not at the next renewal.
func (a *Agent) sayOnLease() {
	if a.lease.Say(a.world.relevant, a.term) {
		select {
		case a.renew <- struct{}{}:
		default:
		}
	}
}

// relink puts back what a removal that was cancelled had cut off, and has the
// rest of what is cut off stopped.
func (a *Agent) relink() error {
	if !a.unlinked {
		return nil
	}
	attachments, err := a.Kernel.Dump()
	if err != nil {
		return fmt.Errorf("reading the pods' interfaces: %w", err)
	}
	for _, at := range attachments {
		if at.Up || at.Dying {
			continue
		}
		if !a.world.ownsEach(at.Addresses) {
			// Of an earlier incarnation, or another peer's by now: cut off, and
			// not stopped yet.
			a.evictions.add(at.Sandbox, podName(at))
			continue
		}
		if err := a.Kernel.CutOff(at, false); err != nil {
			return fmt.Errorf("connecting pod %s again: %w", at.Pod, err)
		}
		a.evictions.drop(at.Sandbox)
		a.Log.Info("connected again", "pod", at.Pod)
	}
	a.unlinked = false
	return nil
}

// readUnderlay finds the addresses to report. From Fencing on they stay.
func (a *Agent) readUnderlay(s *sight, peer *v1alpha1.Peer) error {
	if agent := peer.Status.Agent; agent != nil && phaseOf(peer) != Current && len(agent.Underlay) > 0 {
		a.underlay, a.vtep = parseAddrs(agent.Underlay), agent.VTEP
		return nil
	}
	nodeAddrs := s.nodeAddresses()
	if len(nodeAddrs) == 0 && len(a.underlay) > 0 {
		return nil // the Node has gone; the machine has not
	}
	addrs, mac, err := a.Kernel.Underlay(nodeAddrs)
	if err != nil {
		return fmt.Errorf("finding this node's addresses: %w", err)
	}
	a.underlay, a.vtep = addrs, mac
	return nil
}

// setKernel sets the datapath if it is to change, or was not looked at lately.
func (a *Agent) setKernel(d datapath.Desired) error {
	now := a.Clock.Now()
	if a.setAt != 0 && now-a.setAt < resyncPeriod && reflect.DeepEqual(d, a.set) {
		return nil
	}
	a.setAt = 0
	err := a.Kernel.Set(d)
	if datapath.IsPeerProblem(err) {
		// One peer's bad report is that peer's trouble, not this one's.
		if text := err.Error(); text != a.problem {
			a.problem = text
			a.Log.Warn("some peers are left out of the datapath", "error", err)
		}
	} else if a.problem = ""; err != nil {
		a.Metrics.kernelFailures.Inc()
		return fmt.Errorf("setting the datapath: %w", err)
	}
	a.set, a.setAt = d, now
	return nil
}
