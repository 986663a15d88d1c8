// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// The museum's failures that the shell prevents: what is read before a write,
// and what a write carries. test/museum takes the guards out.

// memoryAPI is an API server in memory, which compares and swaps, or a cache
// of one.
func memoryAPI(objects ...client.Object) client.Client {
	made := 0
	return fake.NewClientBuilder().WithScheme(Scheme()).
		WithStatusSubresource(&v1alpha1.Peer{}, &v1alpha1.AddressRange{}, &v1alpha1.AddressPool{}, &v1alpha1.PeerRemoval{}).
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }).
		WithInterceptorFuncs(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			made++
			o.SetUID(types.UID(fmt.Sprint("made-", made)))
			return c.Create(ctx, o, opts...)
		}}).
		WithObjects(objects...).Build()
}

// theatre is a real Loop, the API server that it writes to, and the cache that
// it watches, which may lag as far behind as it likes.
type theatre struct {
	*testing.T
	api  client.Client
	loop *Loop
	now  time.Duration
}

func newTheatre(t *testing.T, api, cached client.Client) *theatre {
	s := &theatre{T: t, api: api, now: time.Hour}
	s.loop = &Loop{
		Reader:    &Reader{Cached: cached, Direct: api, Namespace: "selvage-system"},
		Applier:   &Applier{Client: api, Namespace: "selvage-system", LeaseDuration: time.Minute, Now: time.Now},
		Announcer: &Announcer{Recorder: record.NewFakeRecorder(1000)},
		Metrics:   NewMetrics(prometheus.NewRegistry()),
		Config:    ownership.Config{LeaseDuration: time.Minute, GracePeriod: time.Minute, MaxRemovals: 1},
		Clock:     func() time.Duration { return s.now },
	}
	return s
}

// passes are so many, each a while after the one before.
func (s *theatre) passes(n int, each time.Duration) {
	s.Helper()
	for range n {
		if _, err := s.loop.Reconcile(s.Context(), reconcile.Request{}); err != nil {
			s.Log(err) // as the work queue would: again, later
		}
		s.now += each
	}
}

func (s *theatre) peer(name string) *v1alpha1.Peer {
	s.Helper()
	var p v1alpha1.Peer
	if err := s.api.Get(s.Context(), client.ObjectKey{Name: name}, &p); err != nil {
		s.Fatal(err)
	}
	return &p
}

// ranges are what is there, as CIDR=owner, and whether two that have an owner
// overlap.
func (s *theatre) ranges() (all []string, disjoint bool) {
	s.Helper()
	var list v1alpha1.AddressRangeList
	if err := s.api.List(s.Context(), &list); err != nil {
		s.Fatal(err)
	}
	disjoint = true
	for i, r := range list.Items {
		all = append(all, r.Spec.CIDR+"="+toRef(r.Spec.Owner).Name)
		for _, q := range list.Items[:i] {
			if r.Spec.Owner != nil && q.Spec.Owner != nil && netip.MustParsePrefix(r.Spec.CIDR).Overlaps(netip.MustParsePrefix(q.Spec.CIDR)) {
				disjoint = false
			}
		}
	}
	return all, disjoint
}

// acceptedPool is one that is divided into /24s.
func acceptedPool(name, cidr string) *v1alpha1.AddressPool {
	p := poolOf(name, cidr, v1alpha1.ConditionClaimed, v1alpha1.ConditionAccepted)
	p.UID, p.Finalizers = types.UID("pool-"+name), []string{v1alpha1.PoolFinalizer}
	return p
}

// member is a peer that has reported, its Lease and its Node.
func member(name string) (*v1alpha1.Peer, *coordinationv1.Lease, *corev1.Node) {
	addr := "192.168.77." + name[len(name)-1:]
	p := &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Generation: 1, Finalizers: []string{v1alpha1.OwnershipFinalizer}},
		Spec:       v1alpha1.PeerSpec{NodeName: name, NodeUID: types.UID("node-" + name), InstanceID: "instance-" + name},
		Status: v1alpha1.PeerStatus{
			Phase: v1alpha1.PhaseActive, Underlay: []string{addr},
			Agent: &v1alpha1.AgentReport{NodeUID: types.UID("node-" + name), Underlay: []string{addr}},
		},
	}
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "selvage-system", Name: v1alpha1.LeasePrefix + name, UID: types.UID("lease-" + name)},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr("uid-" + name + "/run"), LeaseDurationSeconds: ptr[int32](60)},
	}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node-" + name)},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr}}},
	}
	return p, l, n
}

func ownedBy(peer, cidr string) *v1alpha1.AddressRange {
	r := newRange("default", netip.MustParsePrefix(cidr))
	r.UID = types.UID("range-" + r.Name)
	if peer != "" {
		r.Spec.Owner, r.Spec.Epoch = &v1alpha1.PeerReference{Name: peer, UID: types.UID("uid-" + peer)}, 1
	}
	return r
}

func declared(name, heir string) *v1alpha1.PeerRemoval {
	return &v1alpha1.PeerRemoval{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("removal-" + name), Finalizers: []string{v1alpha1.RemovalFinalizer}},
		Spec:       v1alpha1.PeerRemovalSpec{Heir: heir, AssertDown: true},
	}
}

// copies are the same objects, for another client.
func copies(objects ...client.Object) (out []client.Object) {
	for _, o := range objects {
		out = append(out, o.DeepCopyObject().(client.Object))
	}
	return out
}

// calico#3940, #9182: addresses in use were collected because a node was
// missing from a listing. Here the listing is a cache's, and the Node is read
// again before its absence is believed.
func TestMuseum_calico_3940_a_listing_that_misses_a_node(t *testing.T) {
	p, l, n := member("host3")
	world := []client.Object{acceptedPool("default", "10.32.0.0/16"), p, l, ownedBy("host3", "10.32.0.0/24")}
	s := newTheatre(t, memoryAPI(copies(append(world, n)...)...), memoryAPI(copies(world...)...))
	s.passes(30, 20*time.Second) // its agent is silent all the while
	if p := s.peer("host3"); p.Spec.Removal != nil {
		t.Errorf("host3, whose Node is there, is removed: %+v", p.Spec.Removal)
	}
}

// calico PR#12839: collection looped for ever on a sequence number that was
// stale. Here the cache never learns that the Peer has changed.
func TestMuseum_calico_PR_12839_stale_for_ever(t *testing.T) {
	p1, l1, n1 := member("host1")
	p3, l3, n3 := member("host3")
	world := []client.Object{acceptedPool("default", "10.32.0.0/16"), p1, l1, n1, p3, l3, n3, declared("host3", "host1"), ownedBy("host3", "10.32.0.0/24")}
	api, cached := memoryAPI(copies(world...)...), memoryAPI(copies(world...)...)
	s := newTheatre(t, api, cached)
	changed := s.peer("host3")
	changed.Annotations = map[string]string{"note": "changed once"}
	if err := api.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	s.passes(20, time.Second)
	if p := s.peer("host3"); p.Status.Phase != v1alpha1.PhaseTransferring && p.Status.Phase != v1alpha1.PhaseRemoved {
		t.Errorf("host3's removal has come no further than %s: %+v", p.Status.Phase, p.Spec.Removal)
	}
}

// kubernetes#59848: a list that was stale at a restart was acted on, and what
// could not be undone was done. Here it still shows an heir that is out.
func TestMuseum_kubernetes_59848_a_stale_list_at_restart(t *testing.T) {
	p1, l1, n1 := member("host1")
	p3, l3, n3 := member("host3")
	r := declared("host3", "host1")
	p3.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: r.UID, Heir: "host1", AssertDown: true}
	p3.Status.Phase = v1alpha1.PhaseFencing
	l3.Spec.HolderIdentity, l3.Annotations = ptr(v1alpha1.SealedHolder), map[string]string{v1alpha1.SealedForAnnotation: "uid-host3@1"}
	world := []client.Object{acceptedPool("default", "10.32.0.0/16"), p1, l1, n1, p3, l3, n3, r, ownedBy("host3", "10.32.0.0/24")}
	before := copies(world...)
	p1.Status.Phase = v1alpha1.PhaseRemoved
	p1.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceAsserted}
	s := newTheatre(t, memoryAPI(copies(world...)...), memoryAPI(before...))
	s.passes(20, time.Second)
	if p := s.peer("host3"); p.Status.Phase != v1alpha1.PhaseFencing {
		t.Errorf("host3's ranges are to go to host1, which is out: %s, %+v", p.Status.Phase, p.Status.Removal)
	}
}

// ovn-kubernetes#5219: a node that joined during a restart got a subnet that
// had an owner. Here the cache is from before most ranges were granted.
func TestMuseum_ovn_kubernetes_5219_joined_during_a_restart(t *testing.T) {
	p1, l1, n1 := member("host1")
	p2, l2, n2 := member("host2")
	claim := ownedBy("", "10.32.0.0/23")
	world := []client.Object{acceptedPool("default", "10.32.0.0/16"), p1, l1, n1, p2, l2, n2, claim}
	cached := memoryAPI(copies(world...)...)
	s := newTheatre(t, memoryAPI(copies(append(world, ownedBy("host1", "10.32.1.0/24"))...)...), cached)
	s.passes(20, time.Second)
	all, disjoint := s.ranges()
	if !disjoint || !slices.ContainsFunc(all, func(r string) bool { return r[len(r)-5:] == "host2" }) {
		t.Errorf("ranges: %v, disjoint: %t", all, disjoint)
	}
}

// cilium#45980: pools made after start-up were never seen.
func TestMuseum_cilium_45980_a_pool_made_later(t *testing.T) {
	p, l, n := member("host1")
	api := memoryAPI(acceptedPool("default", "10.32.0.0/16"), p, l, n)
	s := newTheatre(t, api, api)
	s.passes(5, time.Second)
	if err := api.Create(t.Context(), poolOf("six", "fd00:10::/104")); err != nil {
		t.Fatal(err)
	}
	s.passes(12, time.Second)
	if all, _ := s.ranges(); !slices.Contains(all, "fd00:10::/120=host1") {
		t.Errorf("nothing of the pool is granted: %v", all)
	}
}

// whereabouts#207, #75, #485, #712, #409: updates were lost, since a write was
// made on top of what had changed since it was decided.
func TestMuseum_whereabouts_207_lost_updates(t *testing.T) {
	api := memoryAPI(ownedBy("", "10.32.0.0/24"))
	seen := seenBy(t, api)
	grant := func(peer string) error {
		after := seen.Ranges[0]
		after.Owner, after.Epoch = ownership.Ref{Name: peer, UID: "uid-" + peer}, 1
		a := &Applier{Client: api, Now: time.Now}
		return a.Apply(t.Context(), seen, []ownership.Write{ownership.UpdateRange{Before: seen.Ranges[0], After: after}})[0].Err
	}
	if err := grant("host1"); err != nil {
		t.Fatal(err)
	}
	if err := grant("host2"); !apierrors.IsConflict(err) {
		t.Errorf("a second grant of what the first was of: %v", err)
	}
	if got := seenBy(t, api).Ranges[0].Owner.Name; got != "host1" {
		t.Errorf("it is %s's", got)
	}
}

// whereabouts#176: a late cleanup hit what had been revived.
func TestMuseum_whereabouts_207_a_late_cleanup(t *testing.T) {
	api := memoryAPI(ownedBy("", "10.32.0.0/24"))
	seen := seenBy(t, api) // a claim of nobody's, to be swept
	var claim v1alpha1.AddressRange
	if err := api.Get(t.Context(), client.ObjectKey{Name: "10.32.0.0"}, &claim); err != nil {
		t.Fatal(err)
	}
	claim.Spec.Owner, claim.Spec.Epoch = &v1alpha1.PeerReference{Name: "host1", UID: "uid-host1"}, 1
	if err := api.Update(t.Context(), &claim); err != nil {
		t.Fatal(err)
	}
	a := &Applier{Client: api, Now: time.Now}
	if err := a.Apply(t.Context(), seen, []ownership.Write{ownership.DeleteRange{Range: seen.Ranges[0]}})[0].Err; !apierrors.IsConflict(err) {
		t.Errorf("it was granted meanwhile, and its deletion says %v", err)
	}
	if len(seenBy(t, api).Ranges) != 1 {
		t.Error("host1's range is gone")
	}
}

// coil's garbage collector deleted by name, after the name had been used again.
func TestMuseum_coil_garbage_collector_deleted_by_name(t *testing.T) {
	p, _, _ := member("host3")
	p.Finalizers = nil
	api := memoryAPI(p)
	seen := seenBy(t, api)
	again, _, _ := member("host3")
	again.Finalizers, again.Spec.InstanceID = nil, "another-instance"
	if err := api.Delete(t.Context(), p.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if err := api.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	// The memory's versions begin anew with each object; an API server's do not.
	again.Annotations = map[string]string{"version": "another"}
	if err := api.Update(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	a := &Applier{Client: api, Now: time.Now}
	if err := a.Apply(t.Context(), seen, []ownership.Write{ownership.DeletePeer{Peer: seen.Peers[0]}})[0].Err; !apierrors.IsConflict(err) {
		t.Errorf("deleting the former host3 says %v", err)
	}
	if len(seenBy(t, api).Peers) != 1 {
		t.Error("the new host3 was deleted in the place of the former")
	}
}

// seenBy is a consistent view.
func seenBy(t *testing.T, api client.Client) *View {
	t.Helper()
	v, err := (&Reader{Cached: api, Direct: api, Namespace: "selvage-system"}).Consistent(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
