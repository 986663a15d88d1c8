// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

var (
	operations = flag.Int("operations", 10000, "random operations while two controllers work at once")
	seed       = flag.Uint64("seed", 0, "of the random operations; 0: another one each time")
)

const chaosPeers = 12

// chaos does one random thing after another.
type chaos struct {
	*stage
	rng  *rand.Rand
	done *atomic.Int64
	kind map[string]int
}

// Two controllers work at once, without leader election, while everything
// that can happen does happen. Every change of ownership is judged by the
// state at its own moment, and the invariants are checked along the way.
func TestTwoControllers(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed=%d", *seed)
	s := newStage(t)
	h := record(t)
	config := quick()
	config.MaxRemovals = 0.5
	first := runController(t, controllerOptions{config: config, seed: *seed | 1})
	second := runController(t, controllerOptions{config: config, seed: *seed ^ 0xff | 1})
	s.pool("default", "10.64.0.0/22", 28, 26)
	s.pool("six", "fd00:10::/118", 124, 122)
	for i := range chaosPeers {
		s.add(fmt.Sprintf("host%d", i), script{leaseSeconds: 1, headroom: 4})
	}
	var done atomic.Int64
	kinds := make([]map[string]int, 3)
	began := time.Now()
	var workers sync.WaitGroup
	for i := range kinds {
		kinds[i] = map[string]int{}
		c := &chaos{stage: s, rng: rand.New(rand.NewPCG(*seed, uint64(i))), done: &done, kind: kinds[i]}
		workers.Go(func() { c.run(t.Context(), int64(*operations)) })
	}
	finished := make(chan struct{})
	go func() { workers.Wait(); close(finished) }()
	audits := auditUntil(t, s, finished)
	t.Logf("%d operations in %s, %d audits of one moment each", done.Load(), time.Since(began).Round(time.Second), audits)
	standing := s.standing()
	first.stop()
	second.stop()
	s.calm()
	moves, violations := h.judge()
	t.Logf("%d changes of ownership among %d changes", moves, len(h.changes))
	for i, v := range violations {
		if i == 20 {
			t.Errorf("and %d more", len(violations)-i)
			break
		}
		t.Error(v)
	}
	for _, k := range kinds {
		t.Logf("%v", k)
	}
	t.Logf("at the end: %v", standing)
	t.Logf("conflicts: %v and %v", counter(t, first, "selvage_refused_writes_total"), counter(t, second, "selvage_refused_writes_total"))
}

func auditUntil(t *testing.T, s *stage, finished chan struct{}) (audits int) {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			audit(t, s.admin)
			return audits + 1
		case <-tick.C:
			audit(t, s.admin)
			audits++
		}
	}
}

// standing counts what the peers and removals say of themselves.
func (s *stage) standing() map[string]int {
	out := map[string]int{}
	var peers v1alpha1.PeerList
	var removals v1alpha1.PeerRemovalList
	if err := errors.Join(s.admin.List(s.t.Context(), &peers), s.admin.List(s.t.Context(), &removals)); err != nil {
		s.t.Fatal(err)
	}
	count := func(what string, conditions []metav1.Condition) {
		if c := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
			what += " " + c.Reason
		}
		out[what]++
	}
	for _, p := range peers.Items {
		count("Peer "+string(p.Status.Phase), p.Status.Conditions)
	}
	for _, r := range removals.Items {
		count("PeerRemoval "+string(r.Status.Phase), r.Status.Conditions)
	}
	return out
}

// calm brings every machine back, so that the end can be reached.
func (s *stage) calm() {
	for _, a := range s.all() {
		a.set(func(s *script) { *s = script{leaseSeconds: 2, headroom: 4} })
	}
}

func (c *chaos) run(ctx context.Context, total int64) {
	for c.done.Add(1) <= total && ctx.Err() == nil {
		name, op := c.pick()
		if err := op(ctx, fmt.Sprintf("host%d", c.rng.IntN(chaosPeers))); err != nil && !expected(err) && ctx.Err() == nil {
			c.t.Errorf("%s: %v", name, err)
			return
		}
		c.kind[name]++
	}
	c.done.Add(-1)
}

// pick chooses an operation by its weight.
func (c *chaos) pick() (string, func(context.Context, string) error) {
	choices := []struct {
		weight int
		name   string
		op     func(context.Context, string) error
	}{
		// What is cheap and harmless fills the time in which removals and
		// grants can go on; what disturbs comes a few times a second.
		{40, "run a pod", c.runPod}, {40, "end a pod", c.endPod}, {40, "demand", c.demand},
		{7, "declare", c.declare}, {16, "cancel", c.cancel}, {1, "assert", c.assert},
		{2, "crash", c.crash}, {12, "revive", c.revive}, {3, "restart", c.restart}, {1, "reimage", c.reimage},
		{1, "delete a node", c.deleteNode}, {6, "restore a node", c.restoreNode}, {1, "taint", c.taint}, {5, "untaint", c.untaint},
		{1, "cordon", c.cordon}, {1, "strip a finalizer", c.strip}, {1, "delete a lease", c.deleteLease},
		{2, "make a pool", c.makePool}, {3, "delete a pool", c.deletePool},
	}
	sum := 0
	for _, o := range choices {
		sum += o.weight
	}
	n := c.rng.IntN(sum)
	for _, o := range choices {
		if n -= o.weight; n < 0 {
			return o.name, o.op
		}
	}
	panic("unreachable")
}

func (c *chaos) agent(name string) *agent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agents[name]
}

func (c *chaos) declare(ctx context.Context, name string) error {
	r := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if heir := fmt.Sprintf("host%d", c.rng.IntN(chaosPeers+1)); heir != name && c.rng.IntN(3) > 0 {
		r.Spec.Heir = heir
	}
	// An assertion must be true.
	if a := c.agent(name); c.rng.IntN(8) == 0 {
		a.set(func(s *script) { s.dead = true })
		r.Spec.AssertDown = true
	}
	return c.admin.Create(ctx, r)
}

// cancel deletes a declaration: mostly one that is done with, so that its node
// may join again.
func (c *chaos) cancel(ctx context.Context, name string) error {
	var r v1alpha1.PeerRemoval
	if err := c.admin.Get(ctx, types.NamespacedName{Name: name}, &r); err != nil {
		return err
	}
	if r.Status.Phase != v1alpha1.RemovalRemoved && c.rng.IntN(5) > 0 {
		return nil
	}
	return c.admin.Delete(ctx, &r)
}

func (c *chaos) assert(ctx context.Context, name string) error {
	c.agent(name).set(func(s *script) { s.dead = true })
	var r v1alpha1.PeerRemoval
	if err := c.admin.Get(ctx, types.NamespacedName{Name: name}, &r); err != nil {
		return err
	}
	r.Spec.AssertDown = true
	return c.admin.Update(ctx, &r)
}

func (c *chaos) crash(_ context.Context, name string) error {
	c.agent(name).set(func(s *script) { s.dead = true })
	return nil
}

// revive brings a machine back, and a person decides what it could not.
func (c *chaos) revive(_ context.Context, name string) error {
	a := c.agent(name)
	a.restart()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.script.dead, a.script.deaf, a.script.leaving = false, false, false
	a.fenced = a.joined
	return nil
}

func (c *chaos) restart(_ context.Context, name string) error {
	c.agent(name).restart()
	return nil
}

func (c *chaos) reimage(_ context.Context, name string) error {
	c.agent(name).reimage()
	return nil
}

func (c *chaos) demand(_ context.Context, name string) error {
	headroom, leaving := int64(1+c.rng.IntN(60)), c.rng.IntN(60) == 0
	deaf, stubborn := c.rng.IntN(12) == 0, c.rng.IntN(4) == 0
	c.agent(name).set(func(s *script) { s.headroom, s.leaving, s.deaf, s.stubborn = headroom, leaving, deaf, stubborn })
	return nil
}

func (c *chaos) runPod(ctx context.Context, name string) error {
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: metav1.NamespaceDefault, Labels: map[string]string{"on": name}},
		Spec:       corev1.PodSpec{NodeName: name, ServiceAccountName: "default", Containers: []corev1.Container{{Name: "main", Image: "none.invalid/none"}}},
	}
	ranges := c.rangesOf(name)
	if len(ranges) == 0 {
		return nil
	}
	cidr := netip.MustParsePrefix(ranges[c.rng.IntN(len(ranges))])
	address := cidr.Addr()
	for range c.rng.IntN(16) {
		address = address.Next()
	}
	if err := c.admin.Create(ctx, o); err != nil {
		return err
	}
	o.Status.Phase, o.Status.PodIP, o.Status.PodIPs = corev1.PodRunning, address.String(), []corev1.PodIP{{IP: address.String()}}
	return c.admin.Status().Update(ctx, o)
}

// rangesOf are a peer's, as seen last.
func (c *chaos) rangesOf(name string) (cidrs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return nil
	}
	for i := range c.last.ranges {
		if r := &c.last.ranges[i]; r.Spec.Owner != nil && r.Spec.Owner.Name == name {
			cidrs = append(cidrs, r.Spec.CIDR)
		}
	}
	return cidrs
}

func (c *chaos) endPod(ctx context.Context, name string) error {
	return c.admin.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(metav1.NamespaceDefault), client.MatchingLabels{"on": name}, client.GracePeriodSeconds(0))
}

func (c *chaos) deleteNode(ctx context.Context, name string) error {
	return c.admin.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// restoreNode registers the Node anew, with another uid.
func (c *chaos) restoreNode(ctx context.Context, name string) error {
	a := c.agent(name)
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.admin.Create(ctx, o); err != nil {
		return err
	}
	o.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: a.underlay}}
	a.mu.Lock()
	a.nodeUID = o.UID
	a.mu.Unlock()
	return c.admin.Status().Update(ctx, o)
}

func (c *chaos) changeNode(ctx context.Context, name string, change func(*corev1.Node)) error {
	var n corev1.Node
	if err := c.admin.Get(ctx, types.NamespacedName{Name: name}, &n); err != nil {
		return err
	}
	change(&n)
	return c.admin.Update(ctx, &n)
}

func (c *chaos) taint(ctx context.Context, name string) error {
	return c.changeNode(ctx, name, func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: v1alpha1.OutOfServiceTaint, Effect: corev1.TaintEffectNoExecute}}
	})
}

func (c *chaos) untaint(ctx context.Context, name string) error {
	return c.changeNode(ctx, name, func(n *corev1.Node) { n.Spec.Taints, n.Spec.Unschedulable = nil, false })
}

func (c *chaos) cordon(ctx context.Context, name string) error {
	return c.changeNode(ctx, name, func(n *corev1.Node) { n.Spec.Unschedulable = true })
}

// strip breaks the glass: the Peer goes while it owns its ranges.
func (c *chaos) strip(ctx context.Context, name string) error {
	c.agent(name).set(func(s *script) { s.dead = true })
	var p v1alpha1.Peer
	if err := c.admin.Get(ctx, types.NamespacedName{Name: name}, &p); err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.BreakGlassAnnotation, "chaos")
	if err := c.admin.Update(ctx, &p); err != nil {
		return err
	}
	p.Finalizers = nil
	if err := c.admin.Update(ctx, &p); err != nil {
		return err
	}
	return c.admin.Delete(ctx, &p, client.Preconditions{UID: &p.UID})
}

func (c *chaos) deleteLease(ctx context.Context, name string) error {
	return c.admin.Delete(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.LeasePrefix + name}})
}

// makePool makes one that may overlap others.
func (c *chaos) makePool(ctx context.Context, _ string) error {
	bits := int32(28)
	return c.admin.Create(ctx, &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pool%d", c.rng.IntN(4))},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: fmt.Sprintf("10.64.%d.0/24", c.rng.IntN(8)), RangePrefixLength: &bits, MaxRangePrefixLength: &bits},
	})
}

func (c *chaos) deletePool(ctx context.Context, _ string) error {
	return c.admin.Delete(ctx, &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pool%d", c.rng.IntN(4))}})
}

// expected are refusals that chaos earns: another writer was quicker, or a
// rule of the API held.
func expected(err error) bool {
	return lost(err) || apierrors.IsInvalid(err) || apierrors.IsForbidden(err)
}
