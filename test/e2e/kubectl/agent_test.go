// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// agent plays a node agent's side of the protocol, under its own identity, for
// the real controller to work with.
type agent struct {
	name     string
	headroom int64
	cancel   context.CancelFunc
	done     chan struct{}

	mu sync.Mutex
	// deaf: it does not acknowledge its removal.
	deaf bool
	runs int
}

func play(name string, headroom int64) *agent {
	ctx, cancel := context.WithCancel(context.Background())
	a := &agent{name: name, headroom: headroom, cancel: cancel, done: make(chan struct{})}
	DeferCleanup(a.stop)
	go func() {
		defer close(a.done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			// Conflicts are normal: the next step looks again.
			if err := a.step(ctx); err != nil && ctx.Err() == nil {
				_, _ = fmt.Fprintf(GinkgoWriter, "%s: %v\n", name, err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return a
}

// stop is the fire.
func (a *agent) stop() {
	a.cancel()
	<-a.done
}

func (a *agent) set(change func(*agent)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

func (a *agent) step(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := cluster.Agents[a.name]
	var peers v1alpha1.PeerList
	var ranges v1alpha1.AddressRangeList
	if err := c.List(ctx, &peers); err != nil {
		return err
	}
	if err := c.List(ctx, &ranges); err != nil {
		return err
	}
	at := slices.IndexFunc(peers.Items, func(p v1alpha1.Peer) bool { return p.Name == a.name })
	if at < 0 {
		return a.join(ctx, c)
	}
	self := &peers.Items[at]
	if !inventory.Gone(inventory.Phase(self)) {
		if err := a.renew(ctx, c, self, peers.Items); err != nil {
			return err
		}
	}
	return a.report(ctx, c, self, ranges.Items)
}

func (a *agent) join(ctx context.Context, c client.Client) error {
	var r v1alpha1.PeerRemoval
	if err := c.Get(ctx, client.ObjectKey{Name: a.name}, &r); !apierrors.IsNotFound(err) && r.Spec.InstanceID == "" {
		return err // declared out
	}
	a.runs++
	return c.Create(ctx, &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: a.name, Finalizers: []string{v1alpha1.OwnershipFinalizer}},
		Spec:       v1alpha1.PeerSpec{NodeName: a.name, NodeUID: cluster.Nodes[a.name], InstanceID: fmt.Sprintf("%s-instance-%d", a.name, a.runs)},
	})
}

// renew takes or renews the lease, with the report of whom it has cut off.
func (a *agent) renew(ctx context.Context, c client.Client, self *v1alpha1.Peer, peers []v1alpha1.Peer) error {
	var removed []string
	for i := range peers {
		if inventory.Gone(inventory.Phase(&peers[i])) {
			removed = append(removed, string(peers[i].UID))
		}
	}
	slices.Sort(removed)
	holder, seconds, now := string(self.UID)+"/1", int32(5), metav1.NowMicro()
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeasePrefix + a.name, Namespace: namespace}}
	err := c.Get(ctx, client.ObjectKeyFromObject(l), l)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if inventory.Holder(l) == v1alpha1.SealedHolder && self.Spec.Removal != nil {
		return nil
	}
	var leader coordinationv1.Lease
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.LeaderLease}, &leader); client.IgnoreNotFound(err) != nil {
		return err
	}
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}
	l.Annotations = map[string]string{v1alpha1.CutOffAnnotation: strings.Join(removed, ","), v1alpha1.TermAnnotation: inventory.Holder(&leader)}
	if apierrors.IsNotFound(err) {
		return c.Create(ctx, l)
	}
	return c.Update(ctx, l)
}

func (a *agent) report(ctx context.Context, c client.Client, self *v1alpha1.Peer, ranges []v1alpha1.AddressRange) error {
	use := v1alpha1.PoolUse{Name: "default"}
	for i := range ranges {
		r := &ranges[i]
		if r.Spec.Owner == nil || r.Spec.Owner.UID != self.UID {
			continue
		}
		use.Capacity += inventory.Size(r.Spec.CIDR)
		if r.Status.ObservedEpoch == r.Spec.Epoch {
			continue
		}
		before := r.DeepCopy()
		r.Status.ObservedEpoch = r.Spec.Epoch
		if err := c.Status().Patch(ctx, r, client.MergeFrom(before)); err != nil {
			return err
		}
	}
	before := self.DeepCopy()
	self.Status.Agent = &v1alpha1.AgentReport{
		Version: "v0.1.0", HostName: a.name, NodeUID: cluster.Nodes[a.name], Underlay: []string{cluster.Hosts[a.name]}, Pools: []v1alpha1.PoolUse{use},
	}
	if a.headroom > 0 {
		self.Status.Agent.Headroom = &a.headroom
	}
	if self.Spec.Removal != nil && !a.deaf {
		self.Status.Agent.Fenced = &v1alpha1.AgentFence{Generation: self.Generation}
	}
	return client.IgnoreNotFound(c.Status().Patch(ctx, self, client.MergeFrom(before)))
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
