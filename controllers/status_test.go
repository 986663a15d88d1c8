// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// viewOf makes a view of objects, as a snapshot does.
func viewOf(objects ...any) *View {
	v := &View{
		pools: map[string]*v1alpha1.AddressPool{}, peers: map[string]*v1alpha1.Peer{}, ranges: map[string]*v1alpha1.AddressRange{},
		removals: map[string]*v1alpha1.PeerRemoval{}, leases: map[string]*coordinationv1.Lease{},
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *v1alpha1.AddressPool:
			v.addPool(o)
		case *v1alpha1.Peer:
			v.addPeer(o)
		case *v1alpha1.AddressRange:
			v.addRange(o)
		case *v1alpha1.PeerRemoval:
			v.removals[o.Name] = o
			v.Removals = append(v.Removals, toDeclaration(o))
		case *coordinationv1.Lease:
			l, _ := toLease(o)
			v.leases[l.Name] = o
			v.Leases = append(v.Leases, l)
		}
	}
	return v
}

func verdictOf(v *View, waits ...ownership.Wait) *Verdict {
	return NewVerdict(v, &ownership.Decision{Waits: waits}, func(string) time.Duration { return 0 }, time.Unix(100, 0))
}

func servingPeer(name string) (*v1alpha1.Peer, *coordinationv1.Lease, *v1alpha1.AddressRange) {
	p := &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u-" + "1", Generation: 3},
		Spec:       v1alpha1.PeerSpec{NodeName: name, InstanceID: "instance"},
		Status: v1alpha1.PeerStatus{
			Agent: &v1alpha1.AgentReport{Underlay: []string{"192.168.0.1"}}, Underlay: []string{"192.168.0.1"},
		},
	}
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeasePrefix + name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr("u-1/run"), LeaseDurationSeconds: ptr[int32](60)},
	}
	r := &v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: "10.32.0.0"},
		Spec: v1alpha1.AddressRangeSpec{
			Pool: "default", CIDR: "10.32.0.0/14", Epoch: 1, Owner: &v1alpha1.PeerReference{Name: name, UID: "u-1"},
		},
		Status: v1alpha1.AddressRangeStatus{Used: 31},
	}
	return p, l, r
}

func ready(conditions []metav1.Condition) metav1.Condition {
	if c := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func TestPeerReady(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.Peer, *coordinationv1.Lease, *v1alpha1.AddressRange)
		reason string
	}{
		"all is well": {func(*v1alpha1.Peer, *coordinationv1.Lease, *v1alpha1.AddressRange) {}, ReasonServing},
		"no report":   {func(p *v1alpha1.Peer, _ *coordinationv1.Lease, _ *v1alpha1.AddressRange) { p.Status.Agent = nil }, ReasonNoReport},
		"suspended": {func(p *v1alpha1.Peer, _ *coordinationv1.Lease, _ *v1alpha1.AddressRange) {
			p.Status.Agent.Suspended = "Cloned: x"
		}, ReasonSuspended},
		"sealed": {func(_ *v1alpha1.Peer, l *coordinationv1.Lease, _ *v1alpha1.AddressRange) {
			l.Spec.HolderIdentity = ptr(v1alpha1.SealedHolder)
		}, ReasonLeaseSealed},
		"another's lease": {func(_ *v1alpha1.Peer, l *coordinationv1.Lease, _ *v1alpha1.AddressRange) {
			l.Spec.HolderIdentity = ptr("u-0/run")
		}, ReasonLeaseNotTaken},
		"underlay not taken": {func(p *v1alpha1.Peer, _ *coordinationv1.Lease, _ *v1alpha1.AddressRange) { p.Status.Underlay = nil }, ReasonUnderlayRejected},
		"no range":           {func(_ *v1alpha1.Peer, _ *coordinationv1.Lease, r *v1alpha1.AddressRange) { r.Spec.Owner = nil }, ReasonWaitingForRange},
	} {
		t.Run(name, func(t *testing.T) {
			p, l, r := servingPeer("host1")
			c.change(p, l, r)
			v := viewOf(p, l, r)
			got := ready(verdictOf(v).PeerStatus(p, &v.Peers[0]).Conditions)
			if got.Reason != c.reason || (got.Status == metav1.ConditionTrue) != (c.reason == ReasonServing) {
				t.Errorf("Ready is %+v, want %s", got, c.reason)
			}
		})
	}
}

func TestPeerColumnsAndPhase(t *testing.T) {
	p, l, r := servingPeer("host1")
	v := viewOf(p, l, r)
	got := verdictOf(v).PeerStatus(p, &v.Peers[0])
	if got.Phase != v1alpha1.PhaseActive || got.Ranges != 1 || got.Addresses != 262144 || got.Used != 31 || got.ObservedGeneration != 3 {
		t.Fatalf("got %+v", got)
	}
}

func TestSilentLeaseIsNotReady(t *testing.T) {
	p, l, r := servingPeer("host1")
	v := viewOf(p, l, r)
	d := NewVerdict(v, &ownership.Decision{}, func(string) time.Duration { return 61 * time.Second }, time.Unix(100, 0))
	if got := ready(d.PeerStatus(p, &v.Peers[0]).Conditions); got.Reason != ReasonLeaseExpired {
		t.Fatalf("Ready is %+v", got)
	}
}

func removalOf(peer string) (*v1alpha1.PeerRemoval, *v1alpha1.Peer) {
	p, _, _ := servingPeer(peer)
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: "r-1", Heir: "host1"}
	p.Status.Phase = v1alpha1.PhaseFencing
	return &v1alpha1.PeerRemoval{
		ObjectMeta: metav1.ObjectMeta{Name: peer, UID: "r-1", Generation: 1}, Spec: v1alpha1.PeerRemovalSpec{Heir: "host1"},
		Status: v1alpha1.PeerRemovalStatus{ObservedGeneration: -1},
	}, p
}

func TestRemovalMirrorsThePeer(t *testing.T) {
	r, p := removalOf("host3")
	v := viewOf(r, p)
	wait := ownership.Wait{Kind: "Peer", Name: "host3", Reason: "WaitingForLease", Message: "waiting for host3's lease to run out (48s left), or proof that it is down"}
	got := verdictOf(v, wait).RemovalStatus(r)
	if got.Phase != v1alpha1.RemovalFencing || got.PeerUID != "u-1" || ready(got.Conditions).Message != wait.Message {
		t.Fatalf("Fencing: %+v", got)
	}
	if peer := ready(verdictOf(v, wait).PeerStatus(p, &v.Peers[0]).Conditions); peer.Message != wait.Message || peer.Status != metav1.ConditionFalse {
		t.Fatalf("the Peer says %+v", peer)
	}

	p.Status.Phase = v1alpha1.PhaseRemoved
	p.Status.Removal = &v1alpha1.PeerRemovalResult{
		Evidence: v1alpha1.EvidenceLeaseExpired, Heir: &v1alpha1.PeerReference{Name: "host1", UID: "x"}, Ranges: 2, Addresses: 524288,
		FencedTime: ptr(metav1.Unix(5, 0)), CompletionTime: ptr(metav1.Unix(6, 0)),
	}
	v = viewOf(r, p)
	got = verdictOf(v).RemovalStatus(r)
	c := ready(got.Conditions)
	if got.Phase != v1alpha1.RemovalRemoved || got.Heir != "host1" || got.Evidence != v1alpha1.EvidenceLeaseExpired || c.Status != metav1.ConditionTrue ||
		c.Message != "524288 IPs taken over from host3" || got.ObservedGeneration != 1 || got.CompletionTime == nil {
		t.Fatalf("Removed: %+v", got)
	}
	// It outlives its Peer, and the Peer's successor.
	r.Status = got
	if again := verdictOf(viewOf(r)).RemovalStatus(r); compareRemoval(&got, &again) != unchanged {
		t.Fatalf("the Peer is gone: %+v", again)
	}
}

func TestRemovalOfNobody(t *testing.T) {
	r, p := removalOf("host9")
	if got := verdictOf(viewOf(r)).RemovalStatus(r); got.Phase != v1alpha1.RemovalRemoved || got.Evidence != v1alpha1.EvidenceNeverJoined || ready(got.Conditions).Status != metav1.ConditionTrue {
		t.Fatalf("got %+v", got)
	}
	p.Spec.Removal = nil
	if got := verdictOf(viewOf(r, p)).RemovalStatus(r); got.Phase != v1alpha1.RemovalPending {
		t.Fatalf("not accepted yet: %+v", got)
	}
	r.Spec.InstanceID = "former-instance"
	if got := verdictOf(viewOf(r, p)).RemovalStatus(r); got.Evidence != v1alpha1.EvidenceNeverJoined {
		t.Fatalf("bound to a former instance: %+v", got)
	}
}

// kstatus reads Reconciling before Stalled: both True is "in progress".
func TestStalledIsNotReconciling(t *testing.T) {
	r, p := removalOf("host3")
	v := viewOf(r, p)
	d := verdictOf(v, ownership.Wait{Kind: "Peer", Name: "host3", Reason: "HeirUnknown", Message: "no such peer", Stalled: true})
	for kind, conditions := range map[string][]metav1.Condition{
		"PeerRemoval": d.RemovalStatus(r).Conditions, "Peer": d.PeerStatus(p, &v.Peers[0]).Conditions,
	} {
		if !apimeta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled) || !apimeta.IsStatusConditionFalse(conditions, v1alpha1.ConditionReconciling) {
			t.Errorf("%s: %+v", kind, conditions)
		}
	}
}

func poolOf(name, cidr string, conditions ...string) *v1alpha1.AddressPool {
	p := &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: cidr},
	}
	for _, c := range conditions {
		apimeta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: c})
	}
	return p
}

func TestPoolStatus(t *testing.T) {
	_, _, r := servingPeer("host1")
	r.Spec.Reserved = []v1alpha1.Reservation{{Address: "10.32.0.9", PodUID: "p"}}
	pool, six := poolOf("default", "10.32.0.0/12", v1alpha1.ConditionAccepted), poolOf("six", "fd00:10::/48", v1alpha1.ConditionAccepted)
	other := poolOf("other", "10.40.0.0/13")
	v := viewOf(pool, six, other, r)
	d := verdictOf(v)
	got, use := d.PoolStatus(pool, &v.Pools[0])
	if a := got.Addresses; a.Total != "1048576" || a.Assigned != "262144" || a.Used != "31" || a.Reserved != "1" || a.Free != "786432" || !use.room {
		t.Errorf("counts: %+v", a)
	}
	if !apimeta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionReady) || !apimeta.IsStatusConditionFalse(got.Conditions, v1alpha1.ConditionExhausted) {
		t.Errorf("conditions: %+v", got.Conditions)
	}
	got, _ = d.PoolStatus(six, &v.Pools[1])
	if got.Addresses.Total != "1208925819614629174706176" {
		t.Errorf("IPv6 total: %s", got.Addresses.Total)
	}
	got, _ = d.PoolStatus(other, &v.Pools[2])
	accepted := apimeta.FindStatusCondition(got.Conditions, v1alpha1.ConditionAccepted)
	if accepted == nil || accepted.Status != metav1.ConditionFalse || !strings.Contains(accepted.Message, "pool default (10.32.0.0/12)") {
		t.Errorf("overlapping: %+v", got.Conditions)
	}
	if !apimeta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionStalled) {
		t.Errorf("overlapping is not Stalled: %+v", got.Conditions)
	}
}

func TestPoolExhausted(t *testing.T) {
	pool, r := poolOf("small", "10.32.0.0/24", v1alpha1.ConditionAccepted), &v1alpha1.AddressRange{
		Spec: v1alpha1.AddressRangeSpec{Pool: "small", CIDR: "10.32.0.0/24"},
	}
	v := viewOf(pool, r)
	got, use := verdictOf(v).PoolStatus(pool, &v.Pools[0])
	if use.room || !apimeta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionExhausted) {
		t.Fatalf("got %+v", got)
	}
}

// What is room for a range of the first size, /26 here: a free block of it,
// however many ranges share the others.
func TestPoolRoom(t *testing.T) {
	for _, c := range []struct {
		ranges []string
		room   bool
	}{
		{nil, true},
		{[]string{"10.32.0.0/25", "10.32.0.128/26"}, true},
		{[]string{"10.32.0.0/25", "10.32.0.128/26", "10.32.0.192/28"}, false},
		{[]string{"10.32.0.0/28", "10.32.0.16/28", "10.32.0.32/28", "10.32.0.48/28"}, true},
		{[]string{"10.32.0.0/28", "10.32.0.64/28", "10.32.0.128/28", "10.32.0.192/28"}, false},
		{[]string{"10.32.0.0/16"}, false},
	} {
		pool := poolOf("small", "10.32.0.0/24", v1alpha1.ConditionAccepted)
		pool.Spec.RangePrefixLength = new(int32(26))
		objects := []any{pool}
		for _, cidr := range c.ranges {
			objects = append(objects, &v1alpha1.AddressRange{
				ObjectMeta: metav1.ObjectMeta{Name: cidr}, Spec: v1alpha1.AddressRangeSpec{Pool: "small", CIDR: cidr},
			})
		}
		v := viewOf(objects...)
		if _, use := verdictOf(v).PoolStatus(pool, &v.Pools[0]); use.room != c.room {
			t.Errorf("%v: room %t", c.ranges, use.room)
		}
	}
}

// A malformed range may cover any space: nothing is decided, and people are told.
func TestMalformedRangeFreezes(t *testing.T) {
	pool := poolOf("default", "10.32.0.0/12")
	v := viewOf(pool, &v1alpha1.AddressRange{ObjectMeta: metav1.ObjectMeta{Name: "10.32.0.0"}, Spec: v1alpha1.AddressRangeSpec{CIDR: "x"}})
	if v.Frozen() == nil {
		t.Fatal("not frozen")
	}
	got, _ := verdictOf(v).PoolStatus(pool, &v.Pools[0])
	if c := ready(got.Conditions); c.Reason != ReasonFrozen || !strings.Contains(c.Message, "10.32.0.0") {
		t.Fatalf("Ready: %+v", c)
	}
	bad := poolOf("bad", "x")
	v = viewOf(bad)
	if got, _ := verdictOf(v).PoolStatus(bad, nil); ready(got.Conditions).Reason != ReasonMalformed {
		t.Fatalf("a malformed pool: %+v", got)
	}
}

func TestChangesAreRanked(t *testing.T) {
	r, p := removalOf("host3")
	v := viewOf(r, p)
	at := func(message string) v1alpha1.PeerRemovalStatus {
		return verdictOf(v, ownership.Wait{Kind: "Peer", Name: "host3", Reason: "WaitingForLease", Message: message}).RemovalStatus(r)
	}
	a, b, c := at("waiting (48s left), or proof"), at("waiting (47s left), or proof"), at("waiting for a drain")
	for _, x := range []struct {
		b    v1alpha1.PeerRemovalStatus
		want change
	}{{a, unchanged}, {b, cosmetic}, {c, material}} {
		if got := compareRemoval(&a, &x.b); got != x.want {
			t.Errorf("%q: %d, want %d", ready(x.b.Conditions).Message, got, x.want)
		}
	}
	pa, pb := v1alpha1.PeerStatus{Used: 1}, v1alpha1.PeerStatus{Used: 2}
	if comparePeer(&pa, &pb) != cosmetic || comparePeer(&pa, &pa) != unchanged {
		t.Error("a count of used addresses is cosmetic")
	}
	pb.Ranges = 1
	if comparePeer(&pa, &pb) != material {
		t.Error("a range is material")
	}
}

// LastTransitionTime moves only when a status does.
func TestTransitionTime(t *testing.T) {
	r, p := removalOf("host3")
	v := viewOf(r, p)
	first := NewVerdict(v, &ownership.Decision{}, func(string) time.Duration { return 0 }, time.Unix(100, 0)).RemovalStatus(r)
	r.Status = first
	second := NewVerdict(v, &ownership.Decision{}, func(string) time.Duration { return 0 }, time.Unix(200, 0)).RemovalStatus(r)
	if compareRemoval(&first, &second) != unchanged {
		t.Fatalf("time alone changed %+v into %+v", first, second)
	}
}
