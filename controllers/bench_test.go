// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// cluster answers LISTs as a cache does, from memory.
type cluster struct {
	client.Reader
	pools  []v1alpha1.AddressPool
	peers  []v1alpha1.Peer
	ranges []v1alpha1.AddressRange
	leases []coordinationv1.Lease
	beats  []coordinationv1.Lease
	nodes  []corev1.Node
	pods   []corev1.Pod
}

func (c *cluster) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	switch l := list.(type) {
	case *v1alpha1.AddressPoolList:
		l.Items = c.pools
	case *v1alpha1.PeerList:
		l.Items = c.peers
	case *v1alpha1.AddressRangeList:
		l.Items = c.ranges
	case *coordinationv1.LeaseList:
		l.Items = c.leases
		if o.Namespace == HeartbeatNamespace {
			l.Items = c.beats
		}
	case *corev1.NodeList:
		l.Items = c.nodes
	case *corev1.PodList:
		l.Items = c.pods
	}
	return nil
}

// quietCluster has so many peers that all serve, with a range each and thirty
// pods.
func quietCluster(peers int) *cluster {
	c := &cluster{pools: []v1alpha1.AddressPool{*poolOf("default", "10.0.0.0/8", v1alpha1.ConditionClaimed, v1alpha1.ConditionAccepted)}}
	c.pools[0].Finalizers = []string{v1alpha1.PoolFinalizer}
	first := netip.MustParseAddr("10.0.0.0").As4()
	for i := range peers {
		name, underlay := fmt.Sprintf("host%d", i), fmt.Sprintf("192.%d.%d.%d", 160+i>>16, i>>8&255, i&255)
		first[1], first[2] = byte(i>>8), byte(i)
		base := netip.AddrFrom4(first)
		p, l, r := servingPeer(name)
		p.UID, p.Finalizers = types.UID("u-"+name), []string{v1alpha1.OwnershipFinalizer}
		p.Spec.NodeUID = types.UID("n-" + name)
		p.Status.Underlay, p.Status.Agent.Underlay = []string{underlay}, []string{underlay}
		p.Status.Agent.NodeUID = p.Spec.NodeUID
		p.Status.Agent.Pools = []v1alpha1.PoolUse{{Name: "default", Capacity: 256, Used: 31}}
		l.Spec.HolderIdentity = ptr(string(p.UID) + "/run")
		l.UID, l.ResourceVersion = types.UID("l-"+name), "1"
		r.Name, r.UID, r.Spec.CIDR = base.String(), types.UID("r-"+name), base.String()+"/24"
		r.Spec.Owner = &v1alpha1.PeerReference{Name: name, UID: p.UID}
		r.Status.ObservedEpoch = 1
		c.peers, c.leases, c.ranges = append(c.peers, *p), append(c.leases, *l), append(c.ranges, *r)
		c.beats = append(c.beats, coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}})
		c.nodes = append(c.nodes, corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: p.Spec.NodeUID},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: underlay}}},
		})
		address := base
		for j := range 30 {
			address = address.Next()
			c.pods = append(c.pods, corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", name, j), UID: types.UID(fmt.Sprintf("pod-%d-%d", i, j))},
				Spec:       corev1.PodSpec{NodeName: name},
				Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: address.String()}}},
			})
		}
	}
	return c
}

// BenchmarkPass is one look at a cluster of 5,000 peers and 150,000 pods in
// which there is nothing to do: what the controller costs while it idles.
func BenchmarkPass(b *testing.B) {
	c := quietCluster(5000)
	r := &Reader{Cached: c, Namespace: "selvage-system"}
	config := ownership.Config{LeaseDuration: time.Minute, ClaimTimeout: time.Minute, GracePeriod: time.Minute, MaxRemovals: 0.2}
	memory, now := ownership.NewMemory(), time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		v, err := r.FromCache(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		now += time.Millisecond
		memory.Observe(&v.Snapshot, now)
		d := ownership.Decide(&v.Snapshot, memory, now, config)
		if len(d.Writes) > 0 {
			b.Fatalf("%d writes, such as %s", len(d.Writes), d.Writes[0])
		}
		verdict := NewVerdict(v, &d, func(string) time.Duration { return 0 }, time.Unix(100, 0))
		for i := range v.Peers {
			verdict.PeerStatus(v.peers[v.Peers[i].Name], &v.Peers[i])
		}
		verdict.PoolStatus(&c.pools[0], &v.Pools[0])
	}
}
