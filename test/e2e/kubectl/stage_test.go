// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package kubectl

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// setStage is the story's cluster: three hosts, of which host3 has grown once.
func setStage(ctx SpecContext) {
	GinkgoHelper()
	DeferCleanup(strike)
	counts := &v1alpha1.AddressCounts{Total: "1048576", Assigned: "1048576", Used: "89", Reserved: "0", Free: "0"}
	cluster.Pool(ctx, "default", "10.32.0.0/12", 14, 14, counts)
	for _, name := range []string{"host1", "host2", "host3"} {
		cluster.Join(ctx, name)
		cluster.Update(ctx, name, func(p *v1alpha1.Peer) { p.Status.Ranges, p.Status.Addresses, p.Status.Used = 1, 262144, 31 })
	}
	cluster.Grant(ctx, "default", "10.32.0.0/14", "host1", 31)
	cluster.Grant(ctx, "default", "10.36.0.0/14", "host2", 28)
	cluster.Grant(ctx, "default", "10.40.0.0/14", "host3", 20)
	cluster.Grant(ctx, "default", "10.44.0.0/14", "host3", 10)
	cluster.Lead(ctx)
}

// strike empties the stage: finalizers off as the controller, owned ranges
// given up before they are deleted.
func strike(ctx context.Context) {
	var removals v1alpha1.PeerRemovalList
	Expect(cluster.Controller.List(ctx, &removals)).To(Succeed())
	for i := range removals.Items {
		discard(ctx, &removals.Items[i])
	}
	var ranges v1alpha1.AddressRangeList
	Expect(cluster.Controller.List(ctx, &ranges)).To(Succeed())
	for i := range ranges.Items {
		disown(ctx, &ranges.Items[i])
		discard(ctx, &ranges.Items[i])
	}
	var peers v1alpha1.PeerList
	Expect(cluster.Controller.List(ctx, &peers)).To(Succeed())
	for i := range peers.Items {
		discard(ctx, &peers.Items[i])
	}
	var pools v1alpha1.AddressPoolList
	Expect(cluster.Controller.List(ctx, &pools)).To(Succeed())
	for i := range pools.Items {
		discard(ctx, &pools.Items[i])
	}
	Expect(cluster.Admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(namespace))).To(Succeed())
	Expect(cluster.Admin.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(0))).To(Succeed())
}

func disown(ctx context.Context, r *v1alpha1.AddressRange) {
	GinkgoHelper()
	if len(r.Spec.Reserved) > 0 {
		r.Spec.Reserved = nil
		Expect(cluster.Controller.Update(ctx, r)).To(Succeed())
	}
	if r.Spec.Owner != nil {
		r.Spec.PreviousOwner, r.Spec.Owner, r.Spec.Keep = r.Spec.Owner, nil, nil
		r.Spec.Epoch++
		Expect(cluster.Controller.Update(ctx, r)).To(Succeed())
	}
}

func discard(ctx context.Context, obj client.Object) {
	GinkgoHelper()
	err := cluster.Controller.Delete(ctx, obj)
	if apierrors.IsForbidden(err) {
		err = cluster.Admin.Delete(ctx, obj) // people's own kinds
	}
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	if err := cluster.Controller.Get(ctx, client.ObjectKeyFromObject(obj), obj); err == nil && len(obj.GetFinalizers()) > 0 {
		obj.SetFinalizers(nil)
		Expect(client.IgnoreNotFound(cluster.Controller.Update(ctx, obj))).To(Succeed())
	}
}
