// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func lease(in, name string) *coordinationv1.Lease {
	holder := "uid/run"
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
}

// takes creates a Lease, which is gone again afterwards.
func takes(in, name string) request {
	return func(ctx context.Context, c client.Client) error {
		defer func() { _ = who.admin.Delete(ctx, lease(in, name)) }()
		return c.Create(ctx, lease(in, name))
	}
}

// renews updates a Lease that is there.
func renews(name string) request {
	return withLease(name, func(ctx context.Context, c client.Client, l *coordinationv1.Lease) error {
		holder := "uid/another run"
		l.Spec.HolderIdentity = &holder
		return c.Update(ctx, l)
	})
}

func dropsLease(name string) request {
	return withLease(name, func(ctx context.Context, c client.Client, l *coordinationv1.Lease) error { return c.Delete(ctx, l) })
}

func withLease(name string, do func(context.Context, client.Client, *coordinationv1.Lease) error) request {
	return func(ctx context.Context, c client.Client) error {
		l := lease(namespace, name)
		if err := who.admin.Create(ctx, l); err != nil {
			return err
		}
		defer func() { _ = who.admin.Delete(ctx, l) }()
		return do(ctx, c, l)
	}
}

// asksItself is a write that has nothing to do with Selvage.
func asksItself(ctx context.Context, c client.Client) error {
	return c.Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes"},
	}})
}

var agentPolicies = []policyRule{
	{
		policy: "agent-writes-its-own", message: "this agent token names no node: agents write only with a token bound to their pod",
		refuses: []deed{
			{unbound, "joining with an unbound token", createsHost2(peerHost2)},
			{unbound, "reporting with an unbound token", patches(kindPeer, "host1", `status: {agent: {version: v2}}`)},
			{unbound, "taking a Lease with an unbound token", takes(namespace, "peer-host2")},
		},
		passes: []deed{
			{host2, "joining with a bound token", createsHost2(peerHost2)},
			{unbound, "what has nothing to do with Selvage", asksItself},
		},
	},
	{
		policy: "agent-writes-its-own", message: "an agent writes only what is its own node's",
		says: "the agent of node host1 may not ",
		refuses: []deed{
			{host1, "joining for another node", createsHost2(peerHost2)},
			{host1, "reporting for another node", patches(kindPeer, "host3", `status: {agent: {version: v2}}`)},
			{host1, "reporting on another's range", patches(kindRange, "10.33.0.0", `status: {used: 3}`)},
			{host1, "reporting on nobody's range", patches(kindRange, "10.35.0.0", `status: {used: 3}`)},
			{host1, "taking a range", patches(kindRange, "10.33.0.0", takeOver)},
			{host1, "labelling its own range", patches(kindRange, "10.32.0.0", `metadata: {labels: {a: b}}`)},
			{host1, "claiming", createsClaim(newClaim)},
			{host1, "deleting a claim", deletes(kindRange, "10.35.0.0")},
			{host1, "changing its own Peer", patches(kindPeer, "host1", `spec: {nodeUID: node-9}`)},
			{host1, "labelling its own Peer", patches(kindPeer, "host1", `metadata: {labels: {a: b}}`)},
			{host1, "taking its own finalizer off", patches(kindPeer, "host1", noFinalizers)},
			{host1, "breaking the glass", patches(kindPeer, "host1", `metadata: {annotations: {net.selvage.dev/break-glass: please}}`)},
			{host1, "deleting its own Peer", deletes(kindPeer, "host1")},
			{host1, "declaring a removal", creates(kindRemoval, "host2", `spec: {heir: host1}`)},
			{host1, "cancelling a removal", deletes(kindRemoval, "host3")},
			{host1, "making a pool", creates(kindPool, "mine", `spec: {cidr: 10.96.0.0/12}`)},
			{host1, "taking another node's Lease", takes(namespace, "peer-host2")},
			{host1, "renewing another node's Lease", renews("peer-host2")},
			{host1, "taking the controllers' Lease", takes(namespace, "selvage-controller")},
			{host1, "taking a Lease in another namespace", takes("elsewhere", "peer-host1")},
			{host1, "deleting its own Lease", dropsLease("peer-host1")},
		},
		passes: []deed{
			{host2, "joining", createsHost2(peerHost2)},
			{host1, "its own report", patches(kindPeer, "host1", `status: {agent: {version: v2, underlay: [192.0.2.1]}}`)},
			{host1, "its report on its own range", patches(kindRange, "10.32.0.0", `status: {observedEpoch: 1, used: 3, sealed: {epoch: 1}}`)},
			{host1, "taking its Lease", takes(namespace, "peer-host1")},
			{host1, "renewing its Lease", renews("peer-host1")},
			{host1, "what has nothing to do with Selvage", asksItself},
		},
	},
	{
		policy:  "agent-writes-its-own",
		message: "an agent creates its Peer with the finalizer net.selvage.dev/ownership, which guards its addresses, and with no other finalizer, owner, label or annotation",
		refuses: []deed{
			{host2, "no finalizer", createsHost2(`spec: {nodeName: host2, instanceID: instance-2}`)},
			{host2, "one more finalizer", createsHost2(`{metadata: {finalizers: [net.selvage.dev/ownership, example.com/hold]}, spec: {nodeName: host2, instanceID: instance-2}}`)},
			{host2, "an owner", createsHost2(`{metadata: {finalizers: [net.selvage.dev/ownership], ownerReferences: [{apiVersion: v1, kind: Node, name: host2, uid: u}]}, spec: {nodeName: host2, instanceID: instance-2}}`)},
			{host2, "a label", createsHost2(`{metadata: {finalizers: [net.selvage.dev/ownership], labels: {a: b}}, spec: {nodeName: host2, instanceID: instance-2}}`)},
			{host2, "an annotation", createsHost2(`{metadata: {finalizers: [net.selvage.dev/ownership], annotations: {net.selvage.dev/break-glass: please}}, spec: {nodeName: host2, instanceID: instance-2}}`)},
		},
		passes: []deed{{host2, "exactly that finalizer", createsHost2(peerHost2)}},
	},
	{
		policy: "agent-writes-its-own", message: "an agent creates its Peer without a removal",
		refuses: []deed{{host2, "a removal", createsHost2(`{metadata: {finalizers: [net.selvage.dev/ownership]}, spec: {nodeName: host2, instanceID: instance-2, removal: {reason: Leaving}}}`)}},
		passes:  []deed{{host2, "none", createsHost2(peerHost2)}},
	},
}

func definition(plural string) *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: plural + ".net.selvage.dev"}}
}

func deletesDefinition(plural string, options ...client.DeleteOption) request {
	return func(ctx context.Context, c client.Client) error { return c.Delete(ctx, definition(plural), options...) }
}

// annotated breaks the glass of a definition while the request is made.
func annotated(plural string, do request) request {
	return func(ctx context.Context, c client.Client) error {
		set := func(value string) error {
			return who.admin.Patch(ctx, definition(plural), client.RawPatch(types.MergePatchType,
				[]byte(`{"metadata":{"annotations":{"net.selvage.dev/break-glass":`+value+`}}}`)))
		}
		if err := set(`"because of a test"`); err != nil {
			return err
		}
		defer func() { _ = set("null") }()
		return do(ctx, c)
	}
}

// The scene has objects of every kind: none may go.
var definitionPolicies = []policyRule{
	kindStays("addresspools", "AddressPool default still exists"),
	kindStays("addressranges", "still exists: pods may use its addresses"),
	kindStays("peerremovals", "PeerRemoval host3 still exists"),
	kindStays("peers", "still exists: its node is in the network"),
}

func kindStays(plural, says string) policyRule {
	return policyRule{
		policy: "selvage-" + plural + "-crd-stays", message: "there still are " + plural + ", and deleting their CRD deletes them", says: says,
		refuses: []deed{
			{admin, "deleting " + plural, deletesDefinition(plural)},
			{admin, "deleting all definitions, " + plural + " among them", func(ctx context.Context, c client.Client) error {
				return c.DeleteAllOf(ctx, &apiextensionsv1.CustomResourceDefinition{},
					client.MatchingFields{"metadata.name": plural + ".net.selvage.dev"})
			}},
			{bystander, "breaking the glass without the verb", annotated(plural, deletesDefinition(plural))},
		},
		passes: []deed{
			{admin, "a broken glass", annotated(plural, deletesDefinition(plural, client.DryRunAll))},
		},
	}
}
