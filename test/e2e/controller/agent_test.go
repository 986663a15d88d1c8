// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// script says how an agent behaves. The zero script is a peer that joins,
// serves, cuts others off and acknowledges its own removal.
type script struct {
	// dead: the machine is off.
	dead bool
	// deaf: it acknowledges nothing.
	deaf bool
	// numb: it cuts nobody off.
	numb bool
	// stubborn: it gives nothing back.
	stubborn bool
	leaving  bool
	headroom int64
	// leaseSeconds is the duration that it writes; 0: 30.
	leaseSeconds int32
	// holds are addresses in use, by range: keeps a range from being idle.
	holds map[string]int64
}

// reportInterval is the least time between two reports of an agent.
const reportInterval = 300 * time.Millisecond

// agent plays a node agent's side of the protocol.
type agent struct {
	name     string
	nodeUID  types.UID
	client   client.Client
	underlay string

	mu       sync.Mutex
	script   script
	instance string
	// fenced is the incarnation that it knows to be removed.
	joined, fenced types.UID
	run            string
	renewed        time.Time
	// reported is when, of which incarnation: use is not told at every turn.
	reported   time.Time
	reportedOf types.UID
	// seen is the highest epoch seen of each range's uid.
	seen map[types.UID]int64
	// wrong is what must never happen.
	wrong error
}

// world is what a consistent look at the API shows.
type world struct {
	peers    map[string]*v1alpha1.Peer
	ranges   []v1alpha1.AddressRange
	removals map[string]*v1alpha1.PeerRemoval
	leases   map[string]*coordinationv1.Lease
	// term is the leader among the controllers, if they elect one.
	term string
}

func (a *agent) set(change func(*script)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.script)
}

// restart makes the agent begin a new run, with its disk as it is.
func (a *agent) restart() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.run, a.renewed = "", time.Time{}
}

// reimage makes it a new installation on the same machine.
func (a *agent) reimage() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.instance, a.joined, a.fenced, a.run, a.renewed = "", "", "", "", time.Time{}
}

// step does what the protocol says next. Conflicts are normal: the next step
// looks again.
func (a *agent) step(ctx context.Context, w *world) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.script.dead {
		return nil
	}
	peer := w.peers[a.name]
	if peer == nil {
		return a.join(ctx, w)
	}
	if peer.Spec.InstanceID != a.instance {
		return a.contend(ctx, peer)
	}
	a.joined = peer.UID
	if gone(peer) {
		a.fenced = peer.UID
	}
	if a.fenced == peer.UID || peer.Spec.Removal != nil {
		if err := a.acknowledge(ctx, peer); err != nil {
			return err
		}
	}
	if a.fenced == peer.UID {
		return nil
	}
	if err := a.lease(ctx, w, peer); err != nil {
		return err
	}
	if err := a.reportPeer(ctx, w, peer); err != nil {
		return err
	}
	return a.reportRanges(ctx, w, peer)
}

// removed are the uids of the incarnations, other than one's own, that are
// removed, or vanished from the record while they owned something.
func (w *world) removed(self types.UID) (out []string) {
	known := map[types.UID]bool{self: true}
	for _, p := range w.peers {
		known[p.UID] = true
		if gone(p) && p.UID != self {
			out = append(out, string(p.UID))
		}
	}
	for _, r := range w.ranges {
		if o := r.Spec.Owner; o != nil && !known[o.UID] {
			out = append(out, string(o.UID))
		}
	}
	return out
}

func gone(p *v1alpha1.Peer) bool {
	return p.Status.Phase == v1alpha1.PhaseTransferring || p.Status.Phase == v1alpha1.PhaseRemoved
}

func (a *agent) join(ctx context.Context, w *world) error {
	if r := w.removals[a.name]; r != nil && (r.Spec.InstanceID == "" || r.Spec.InstanceID == a.instance) {
		return nil // declared out
	}
	if a.joined != "" && a.fenced != a.joined {
		// StateRegressed, unless my space is shown to be another's.
		if !slices.ContainsFunc(w.ranges, func(r v1alpha1.AddressRange) bool {
			return r.Spec.PreviousOwner != nil && r.Spec.PreviousOwner.UID == a.joined
		}) {
			return nil
		}
	}
	a.instance, a.run, a.renewed = uuid.NewString(), "", time.Time{}
	peer := &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: a.name, Finalizers: []string{v1alpha1.OwnershipFinalizer}},
		Spec:       v1alpha1.PeerSpec{NodeName: a.name, NodeUID: a.nodeUID, InstanceID: a.instance},
	}
	if err := a.client.Create(ctx, peer); err != nil {
		return err
	}
	a.joined = peer.UID
	return nil
}

func (a *agent) contend(ctx context.Context, peer *v1alpha1.Peer) error {
	if a.instance == "" {
		a.instance = uuid.NewString()
	}
	return a.patchPeer(ctx, peer, func(r *v1alpha1.AgentReport) { r.Contender = a.instance })
}

func (a *agent) acknowledge(ctx context.Context, peer *v1alpha1.Peer) error {
	if a.script.deaf {
		return nil
	}
	return a.patchPeer(ctx, peer, func(r *v1alpha1.AgentReport) {
		r.Fenced = &v1alpha1.AgentFence{Generation: peer.Generation}
	})
}

// lease takes the Lease, or renews it when a third of its duration has passed,
// or when there is somebody new to cut off.
func (a *agent) lease(ctx context.Context, w *world, peer *v1alpha1.Peer) error {
	cut := []string{}
	if !a.script.numb {
		cut = w.removed(peer.UID)
	}
	seconds := a.script.leaseSeconds
	if seconds == 0 {
		seconds = 30
	}
	l := w.leases[a.name]
	if l == nil {
		return a.place(ctx, seconds)
	}
	l = l.DeepCopy()
	holder := ""
	if l.Spec.HolderIdentity != nil {
		holder = *l.Spec.HolderIdentity
	}
	mine := a.run != "" && holder == string(peer.UID)+"/"+a.run
	if !mine && peer.Spec.Removal != nil {
		return nil // it may not be taken
	}
	before := strings.FieldsFunc(l.Annotations[v1alpha1.CutOffAnnotation], func(r rune) bool { return r == ',' })
	if mine {
		// Cumulative: one report serves many removals.
		cut = append(cut, before...)
	}
	slices.Sort(cut)
	cut = slices.Compact(cut)
	if mine && slices.Equal(cut, before) && l.Annotations[v1alpha1.TermAnnotation] == w.term && time.Since(a.renewed) < time.Duration(seconds)*time.Second/3 {
		return nil
	}
	if !mine {
		a.run = uuid.NewString()
	}
	holder = string(peer.UID) + "/" + a.run
	now := metav1.NowMicro()
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, v1alpha1.CutOffAnnotation, strings.Join(cut, ","))
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, v1alpha1.TermAnnotation, w.term)
	delete(l.Annotations, v1alpha1.SealedForAnnotation)
	sent := time.Now()
	err := a.client.Update(ctx, l)
	if err == nil {
		a.renewed = sent
	}
	return err
}

// place makes an absent Lease, sealed: what is absent cannot be compared.
func (a *agent) place(ctx context.Context, seconds int32) error {
	holder := v1alpha1.SealedHolder
	return a.client.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.LeasePrefix + a.name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds},
	})
}

func (a *agent) reportPeer(ctx context.Context, w *world, peer *v1alpha1.Peer) error {
	if a.reportedOf == peer.UID && time.Since(a.reported) < reportInterval {
		return nil
	}
	a.reported, a.reportedOf = time.Now(), peer.UID
	pools := map[string]*v1alpha1.PoolUse{}
	var names []string
	for i := range w.ranges {
		r := &w.ranges[i]
		if r.Spec.Owner == nil || r.Spec.Owner.UID != peer.UID {
			continue
		}
		use := pools[r.Spec.Pool]
		if use == nil {
			use = &v1alpha1.PoolUse{Name: r.Spec.Pool}
			pools[r.Spec.Pool] = use
			names = append(names, r.Spec.Pool)
		}
		use.Capacity += sizeOf(r.Spec.CIDR) - int64(len(r.Spec.Reserved))
		use.Used += a.script.holds[r.Name]
	}
	slices.Sort(names)
	return a.patchPeer(ctx, peer, func(r *v1alpha1.AgentReport) {
		r.Version, r.HostName, r.NodeUID = "scripted", a.name, a.nodeUID
		r.Underlay = []string{a.underlay}
		r.VTEP = "02:00:00:00:00:01"
		if a.script.headroom > 0 {
			r.Headroom = &a.script.headroom
		}
		r.Leaving = a.script.leaving
		if peer.Spec.Removal == nil {
			r.Fenced = nil
		}
		r.Pools = nil
		for _, name := range names {
			r.Pools = append(r.Pools, *pools[name])
		}
	})
}

// patchPeer patches status.agent, on the version that was read.
func (a *agent) patchPeer(ctx context.Context, peer *v1alpha1.Peer, change func(*v1alpha1.AgentReport)) error {
	was := peer.DeepCopy()
	if peer.Status.Agent == nil {
		peer.Status.Agent = &v1alpha1.AgentReport{}
	}
	change(peer.Status.Agent)
	if equal(was.Status.Agent, peer.Status.Agent) {
		return nil
	}
	return a.client.Status().Patch(ctx, peer, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
}

// reportRanges reports epochs, use, and what is given back.
func (a *agent) reportRanges(ctx context.Context, w *world, peer *v1alpha1.Peer) error {
	for i := range w.ranges {
		r := &w.ranges[i]
		if r.Spec.Owner == nil || r.Spec.Owner.UID != peer.UID {
			continue
		}
		if was, ok := a.seen[r.UID]; ok && r.Spec.Epoch < was {
			a.wrong = fmt.Errorf("agent %s: range %s has epoch %d after %d was seen: Monotone", a.name, r.Name, r.Spec.Epoch, was)
		}
		a.seen[r.UID] = r.Spec.Epoch
		was := r.DeepCopy()
		r.Status.ObservedEpoch = r.Spec.Epoch
		r.Status.Used = a.script.holds[r.Name]
		if r.Spec.Keep != nil && !a.script.stubborn && r.Status.Used == 0 {
			r.Status.Sealed = &v1alpha1.RangeSeal{Epoch: r.Spec.Epoch, Keep: *r.Spec.Keep}
		}
		if equal(was.Status, r.Status) {
			continue
		}
		err := a.client.Status().Patch(ctx, r, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{}))
		if err != nil {
			return err
		}
	}
	return nil
}

// lost tells errors that are a part of life: another writer was quicker.
func lost(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}
