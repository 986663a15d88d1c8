// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	newClaim     = `spec: {pool: default, cidr: 10.37.0.0/16, epoch: 0}`
	glassedClaim = `{metadata: {annotations: {net.selvage.dev/break-glass: "because of a test"}}, spec: {pool: default, cidr: 10.37.0.0/16, epoch: 0}}`
	ownedClaim   = `{metadata: {ownerReferences: [{apiVersion: v1, kind: Node, name: host1, uid: node-1}]}, spec: {pool: default, cidr: 10.37.0.0/16, epoch: 0}}`
	takeOver     = `spec: {owner: {name: host1, uid: uid-1}, epoch: 2, previousOwner: {name: host3, uid: uid-3}}`
	glassedTake  = `{metadata: {annotations: {net.selvage.dev/break-glass: "because of a test"}}, ` + takeOver + `}`
	applyTake    = `spec: {pool: default, cidr: 10.33.0.0/16, owner: {name: host1, uid: uid-1}, epoch: 2, previousOwner: {name: host3, uid: uid-3}}`
	reference    = `metadata: {ownerReferences: [{apiVersion: v1, kind: Node, name: host1, uid: node-1}]}`
)

// createsClaim takes the claim away again.
func createsClaim(body string) request {
	return func(ctx context.Context, c client.Client) error {
		defer remove(ctx, who.admin, kindRange, "10.37.0.0")
		return creates(kindRange, "10.37.0.0", body)(ctx, c)
	}
}

var rangePolicies = []policyRule{
	{
		policy: "addressrange-single-writer", message: "AddressRanges are written by selvage-controller alone, their status by the owner's agent",
		says: "is written by selvage-controller alone, its status by the agent of its owner. To move addresses, declare a removal: kubectl selvage rmpeer NODE --heir NODE",
		refuses: []deed{
			{admin, "an administrator's creating one", createsClaim(newClaim)},
			{admin, "an administrator's changing the owner", patches(kindRange, "10.33.0.0", takeOver)},
			{admin, "a forced server-side apply of another owner", forces(kindRange, "10.33.0.0", applyTake)},
			{admin, "a forced server-side apply of a new one", func(ctx context.Context, c client.Client) error {
				return forces(kindRange, "10.37.0.0", newClaim)(ctx, c)
			}},
			{admin, "an administrator's shrinking a claim", patches(kindRange, "10.35.0.0", `spec: {cidr: 10.35.0.0/17}`)},
			{admin, "an administrator's taking reservations away", patches(kindRange, "10.34.0.0", `spec: {reserved: null}`)},
			{admin, "an administrator's deleting a claim", deletes(kindRange, "10.35.0.0")},
			{admin, "an administrator's reporting in the owner's place", patches(kindRange, "10.33.0.0", `status: {used: 0}`)},
			{admin, "an administrator's sealing in the owner's place", patches(kindRange, "10.33.0.0", `status: {sealed: {epoch: 1}}`)},
			{admin, "a finalizer that would hold it", patches(kindRange, "10.35.0.0", `metadata: {finalizers: [example.com/hold]}`)},
			{admin, "taking a foreign finalizer off", patches(kindRange, "10.36.0.0", `metadata: {finalizers: null}`)},
			{impostor, "a service account that has the controller's name alone", createsClaim(newClaim)},
			{impostor, "its deleting a claim", deletes(kindRange, "10.35.0.0")},
			{bystander, "breaking the glass without the verb, on creation", createsClaim(glassedClaim)},
			{bystander, "breaking the glass without the verb, on a change", patches(kindRange, "10.33.0.0", glassedTake)},
			{bystander, "breaking the glass without the verb, on deletion", afterGlass(kindRange, "10.35.0.0", deletes(kindRange, "10.35.0.0"))},
			{bystander, "breaking the glass without the verb, on the status", afterGlass(kindRange, "10.33.0.0", patches(kindRange, "10.33.0.0", `status: {used: 0}`))},
		},
		passes: []deed{
			{controller, "the controller's claiming", createsClaim(newClaim)},
			{controller, "the controller's moving", patchesAsPut(kindRange, "10.33.0.0", takeOver)},
			{controller, "the controller's deleting a claim", deletes(kindRange, "10.35.0.0")},
			{admin, "a label", patches(kindRange, "10.33.0.0", `metadata: {labels: {team: net}}`)},
			{bystander, "an annotation", patches(kindRange, "10.33.0.0", `metadata: {annotations: {note: "seen"}}`)},
			{admin, "a broken glass, on creation", createsClaim(glassedClaim)},
			{admin, "a broken glass, on a change", patches(kindRange, "10.33.0.0", glassedTake)},
			{admin, "a broken glass, on deletion", afterGlass(kindRange, "10.35.0.0", deletes(kindRange, "10.35.0.0"))},
			{admin, "a broken glass, on the status", afterGlass(kindRange, "10.33.0.0", patches(kindRange, "10.33.0.0", `status: {used: 0}`))},
		},
	},
	{
		policy: "addressrange-no-owner-references", message: "an AddressRange has no ownerReferences: the garbage collector would delete it without a fence",
		refuses: []deed{
			{controller, "the controller's creating one with", createsClaim(ownedClaim)},
			{controller, "the controller's adding one", patchesAsPut(kindRange, "10.32.0.0", reference)},
			{admin, "a broken glass", afterGlass(kindRange, "10.32.0.0", patches(kindRange, "10.32.0.0", reference))},
		},
		passes: []deed{{controller, "none", createsClaim(newClaim)}},
	},
	{
		policy: "addressrange-in-use-stays", message: "this AddressRange is owned: pods use its addresses",
		says: "AddressRange 10.33.0.0 is owned by host3, whose pods use its addresses. To take that node out of the network: kubectl selvage rmpeer host3",
		refuses: []deed{
			{controller, "the controller's deleting it", deletes(kindRange, "10.33.0.0")},
			{admin, "a broken glass", afterGlass(kindRange, "10.33.0.0", deletes(kindRange, "10.33.0.0"))},
		},
		passes: []deed{{controller, "the controller's deleting a claim", deletes(kindRange, "10.35.0.0")}},
	},
	{
		policy: "addressrange-in-use-stays", message: "addresses of this AddressRange are reserved: pods may still carry them. It is deleted once those pods are gone",
		refuses: []deed{
			{controller, "the controller's deleting it", deletes(kindRange, "10.34.0.0")},
			{admin, "a broken glass", afterGlass(kindRange, "10.34.0.0", deletes(kindRange, "10.34.0.0"))},
		},
		passes: []deed{{controller, "deletion once none is reserved", func(ctx context.Context, c client.Client) error {
			if err := patchesAsPut(kindRange, "10.34.0.0", `spec: {reserved: null}`)(ctx, c); err != nil {
				return err
			}
			return deletes(kindRange, "10.34.0.0")(ctx, c)
		}}},
	},
	{
		policy: "addressrange-in-use-stays", message: "this AddressRange is being deleted: it can be given neither an owner nor reservations",
		refuses: []deed{
			{controller, "granting it", patchesAsPut(kindRange, "10.36.0.0", `spec: {owner: {name: host1, uid: uid-1}, epoch: 1}`)},
			{controller, "reserving in it", patchesAsPut(kindRange, "10.36.0.0", `spec: {reserved: [{address: 10.36.0.1, podUID: pod-1}]}`)},
		},
		passes: []deed{{controller, "letting it go", patchesAsPut(kindRange, "10.36.0.0", `metadata: {finalizers: null}`)}},
	},
}
