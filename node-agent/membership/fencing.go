// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// fencePeriod is how often a row that cuts pods off looks whether it is done.
const fencePeriod = 500 * time.Millisecond

// suspend allocates nothing, lets pods run, and acknowledges once none is left
// (or, if the removal says so, once those that are left are cut off). A cancel
// undoes all of it.
func (a *Agent) suspend(ctx context.Context, s *sight) error {
	peer := s.peer(a.Name)
	a.eager.Store(true)
	refuse := fmt.Errorf("this node is being removed from the network (%s): nothing is allocated. To cancel: kubectl selvage cancel %s",
		peer.Spec.Removal.Reason, a.Name)
	a.settleStance(stance{
		refuse: refuse, waiting: a.stillWaiting(), peerUID: string(peer.UID), removal: string(peer.Spec.Removal.Reason),
	})
	if err := a.follow(s, peer); err != nil {
		return err
	}
	if a.lease.Held() {
		a.sayOnLease()
	}
	left, err := a.vacate(peer)
	if err != nil {
		return err
	}
	heard := a.silent()
	t := telling{suspended: a.trouble(stance{refuse: a.regression()})}
	if len(left) == 0 && heard == nil {
		// On disk first: from here on a missing Peer means that it was removed.
		if err := a.Store.Update(func(r *Record) { r.Acknowledged = peer.Generation }); err != nil {
			return err
		}
		t.fenced = peer.Generation
	}
	if err := a.tell(ctx, s, peer, t); err != nil {
		return err
	}
	if err := a.echo(s); err != nil {
		return err
	}
	if len(left) > 0 {
		return waitFor(fencePeriod*4, "%d pods to go before the removal is acknowledged: %s. Drain the node (kubectl drain %s --ignore-daemonsets --delete-emptydir-data)",
			len(left), brief(left), a.Name)
	}
	if heard != nil {
		return heard
	}
	a.wait("the controller to move this peer's ranges")
	return nil
}

// vacate names the pods that stand in the way of an acknowledgement.
func (a *Agent) vacate(peer *v1alpha1.Peer) ([]string, error) {
	l := a.leaving.Load()
	if peer.Spec.Removal.CutOff || (l != nil && l.cutOff) {
		return a.cutOff("this node is being removed", everything)
	}
	return a.occupants()
}

// occupants are the pods that hold addresses: their links, dying or not, and
// allocations that have no link yet.
func (a *Agent) occupants() ([]string, error) {
	attachments, err := a.Kernel.Dump()
	if err != nil {
		return nil, fmt.Errorf("reading the pods' interfaces: %w", err)
	}
	var left []string
	linked := map[addresses.Key]bool{}
	for _, at := range attachments {
		linked[keyOf(at)] = true
		left = append(left, podName(at))
	}
	return append(left, a.unlinkedKeys(linked)...), nil
}

func (a *Agent) unlinkedKeys(linked map[addresses.Key]bool) (left []string) {
	for _, key := range a.Ledger.Keys() {
		if !linked[key] {
			left = append(left, "sandbox "+key.Sandbox)
		}
	}
	return left
}

// brief names the first few.
func brief(names []string) string {
	const most = 5
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// fence gives an incarnation up: it is removed, or as good as that. The mark
// is durable first; then stale pods are cut off, then that is acknowledged.
func (a *Agent) fence(ctx context.Context, s *sight) error {
	record := a.Store.Record()
	uid := record.PeerUID
	peer := s.peer(a.Name)
	if peer != nil {
		uid = string(peer.UID)
	}
	err := fmt.Errorf("this node was removed from the network as %s: nothing is served until that is settled", uid)
	a.settleStance(stance{refuse: err, unhealthy: err, waiting: a.stillWaiting(), peerUID: uid})
	if err := a.Store.Update(func(r *Record) { r.fence(uid) }); err != nil {
		return err
	}
	left, err := a.abandon(s, "its peer was removed")
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return waitFor(fencePeriod, "%d stale pods to be cut off: %s", len(left), brief(left))
	}
	if peer == nil {
		return errAgain // and then, from scratch
	}
	t := telling{fenced: peer.Generation}
	if phaseOf(peer) != Gone {
		// The API believes less than this disk knows: have it removed again.
		t.leaving = true
		t.suspended = v1alpha1.ReasonStateRegressed + ": this incarnation was removed, and its agent has acknowledged that; the API server shows it as a member again"
	}
	if err := a.tellPeer(ctx, s, peer, a.report(peer, t)); err != nil {
		return err
	}
	a.wait("the controller to finish the removal and delete Peer " + a.Name)
	return nil
}

// abandon serves nothing: no lease, no range, no pod, no other peer. It returns
// the pods that are not cut off yet, or waits until those that are cannot be
// heard any more.
func (a *Agent) abandon(s *sight, why string) ([]string, error) {
	a.eager.Store(true)
	a.lease.Drop(errNotTaken)
	a.forget()
	a.world, a.term = nil, ""
	left, err := a.cutOff(why, everything)
	if err == nil {
		err = a.deafen(s)
	}
	if err != nil || len(left) > 0 {
		return left, err
	}
	return nil, a.silent()
}

// deafen takes every other peer out of the datapath.
func (a *Agent) deafen(s *sight) error {
	if len(a.underlay) == 0 {
		// Without an address there is no tunnel either.
		var err error
		if a.underlay, a.vtep, err = a.Kernel.Underlay(s.nodeAddresses()); err != nil || len(a.underlay) == 0 {
			a.Log.Debug("the datapath is left as it is", "error", err)
			return nil
		}
	}
	return a.setKernel(datapath.Desired{Name: a.Name, Underlay: a.underlay, Complete: true})
}

// stayOut waits for the PeerRemoval that keeps this node out to be deleted. What
// it was before is given up for good, so that it joins anew then.
func (a *Agent) stayOut(s *sight) error {
	text := fmt.Sprintf("this node is declared out of the network by PeerRemoval %s: to let it join anew, delete that (kubectl delete peerremoval %s)",
		a.Name, a.Name)
	a.settleStance(stance{refuse: errors.New(text), unhealthy: errors.New(text), waiting: text})
	if err := a.Store.Update(func(r *Record) { r.fence(r.PeerUID) }); err != nil {
		return err
	}
	left, err := a.abandon(s, "its node is declared out")
	if err == nil && len(left) > 0 {
		return waitFor(fencePeriod, "%s. %d leftover pods to be cut off: %s", text, len(left), brief(left))
	}
	return err
}

// contend says that another instance has this node's name, and touches nothing
// but leftover pods, if what they belonged to is gone: their space may be
// another's by now.
func (a *Agent) contend(ctx context.Context, s *sight) error {
	peer := s.peer(a.Name)
	a.lease.Drop(errNotTaken)
	a.forget()
	a.world, a.term = nil, ""
	record := a.Store.Record()
	if record.Joined() && !slices.ContainsFunc(s.Peers, func(p v1alpha1.Peer) bool { return string(p.UID) == record.PeerUID }) {
		if !s.Consistent {
			return errAgain // a cache may lack it
		}
		if _, err := a.cutOff("its peer is gone, and another instance has its node's name", everything); err != nil {
			return err
		}
	}
	if record.InstanceID == "" || record.InstanceID == peer.Spec.InstanceID || !record.Machine.Same(a.machine) {
		// What this disk remembers is another machine's, or nothing.
		if err := a.Store.Update(func(r *Record) { r.begin(a.NewID(), a.machine) }); err != nil {
			return err
		}
		record = a.Store.Record()
	}
	text := fmt.Sprintf("Peer %s is another instance (%s, this is %s): this machine was re-imaged, cloned or has another's name. "+
		"It waits until that one's lease has run out and it is removed", a.Name, peer.Spec.InstanceID, record.InstanceID)
	a.settleStance(stance{refuse: errors.New(text), unhealthy: errors.New(text), waiting: text})
	if agent := peer.Status.Agent; agent != nil && agent.Contender == record.InstanceID {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := a.patchPeer(ctx, peer, func(status *v1alpha1.PeerStatus) {
		if status.Agent == nil {
			status.Agent = &v1alpha1.AgentReport{}
		}
		status.Agent.Contender = record.InstanceID
	})
	if err != nil {
		return fmt.Errorf("contending for Peer %s: %w", a.Name, err)
	}
	return nil
}
