// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package api

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	peerHost2 = `{metadata: {finalizers: [net.selvage.dev/ownership]}, spec: {nodeName: host2, instanceID: instance-2}}`
	ablaze    = `spec: {removal: {reason: Declared, heir: host1}}`
)

func createsHost2(body string) request {
	return func(ctx context.Context, c client.Client) error {
		defer remove(ctx, who.admin, kindPeer, "host2")
		return creates(kindPeer, "host2", body)(ctx, c)
	}
}

var peerPolicies = []policyRule{
	{
		policy:  "peer-single-writer",
		message: "Peers are written by their agents and by selvage-controller alone: to take a node out of the network, apply a PeerRemoval of its name",
		says:    "is written by its agent and by selvage-controller alone. To take a node out of the network, apply a PeerRemoval of its name: kubectl selvage rmpeer host",
		refuses: []deed{
			{admin, "an administrator's creating one", createsHost2(peerHost2)},
			{admin, "a forced server-side apply", forces(kindPeer, "host3", `spec: {nodeName: host3, instanceID: instance-3, removal: {reason: Declared, heir: host1}}`)},
			{admin, "an administrator's removing it in its spec", patches(kindPeer, "host3", ablaze)},
			{admin, "an administrator's deleting it", deletes(kindPeer, "host3")},
			{admin, "an administrator's deleting all", deletesAll(kindPeer)},
			{admin, "a finalizer that would hold it", patches(kindPeer, "host3", `metadata: {finalizers: [net.selvage.dev/ownership, example.com/hold]}`)},
			{admin, "an owner whose deletion would delete it", patches(kindPeer, "host3", reference)},
			{impostor, "a service account that has the controller's name alone", deletes(kindPeer, "host3")},
			{bystander, "breaking the glass without the verb", afterGlass(kindPeer, "host3", patches(kindPeer, "host3", ablaze))},
			{bystander, "breaking the glass without the verb, on deletion", afterGlass(kindPeer, "host3", deletes(kindPeer, "host3"))},
		},
		passes: []deed{
			{controller, "the controller's accepting a removal", patchesAsPut(kindPeer, "host3", ablaze)},
			{controller, "the controller's deleting it", deletes(kindPeer, "host3")},
			{admin, "a label", patches(kindPeer, "host3", `metadata: {labels: {team: net}}`)},
			{admin, "a broken glass", afterGlass(kindPeer, "host3", patches(kindPeer, "host3", ablaze))},
			{admin, "a broken glass, on deletion", afterGlass(kindPeer, "host3", deletes(kindPeer, "host3"))},
		},
	},
	{
		policy:  "peer-controller-fields",
		message: "the finalizer net.selvage.dev/ownership guards this peer's addresses: only selvage-controller takes it off, once they are safe. kubectl selvage status says what it waits for",
		refuses: []deed{
			{admin, "an administrator's taking it off", patches(kindPeer, "host3", `metadata: {finalizers: null}`)},
			{bystander, "breaking the glass without the verb", afterGlass(kindPeer, "host3", patches(kindPeer, "host3", `metadata: {finalizers: null}`))},
		},
		passes: []deed{
			{controller, "the controller's taking it off", patchesAsPut(kindPeer, "host3", `metadata: {finalizers: null}`)},
			{admin, "a broken glass", afterGlass(kindPeer, "host3", patches(kindPeer, "host3", `metadata: {finalizers: null}`))},
		},
	},
	{
		policy:  "peer-controller-fields",
		message: "of a Peer's status, only status.agent may be written, and only by that node's agent: the rest is selvage-controller's",
		refuses: []deed{
			{host1, "its agent's setting the phase", patches(kindPeer, "host1", `status: {phase: Fencing}`)},
			{host1, "its agent's taking the phase away", patches(kindPeer, "host1", `status: {phase: null}`)},
			{host1, "its agent's accepting an address", patches(kindPeer, "host1", `status: {underlay: [192.0.2.1]}`)},
			{host1, "its agent's adding to its report", patches(kindPeer, "host1", `status: {agent: {leaving: true}, observedGeneration: 7}`)},
			{impostor, "a service account that has the controller's name alone", patches(kindPeer, "host3", `status: {phase: Fencing}`)},
			{admin, "an administrator's setting the phase", patches(kindPeer, "host3", `status: {phase: Fencing}`)},
			{bystander, "breaking the glass without the verb", afterGlass(kindPeer, "host3", patches(kindPeer, "host3", `status: {phase: Fencing}`))},
		},
		passes: []deed{
			{controller, "the controller's setting the phase", patches(kindPeer, "host3", `status: {phase: Fencing}`)},
			{host1, "its agent's report", patches(kindPeer, "host1", `status: {agent: {leaving: true}}`)},
			{admin, "a broken glass", afterGlass(kindPeer, "host3", patches(kindPeer, "host3", `status: {phase: Fencing}`))},
		},
	},
	{
		policy: "peer-controller-fields", message: "status.agent is the report of that node's agent: nobody else writes it",
		refuses: []deed{
			{admin, "an administrator's acknowledging in its place", patches(kindPeer, "host3", `status: {agent: {fenced: {generation: 1}}}`)},
			{admin, "an administrator's changing it", patches(kindPeer, "host1", `status: {agent: {leaving: true}}`)},
			{admin, "an administrator's taking it away", patches(kindPeer, "host1", `status: {agent: null}`)},
		},
		passes: []deed{
			{host1, "its agent's first word", patches(kindPeer, "host1", `status: {agent: {fenced: {generation: 1}}}`)},
			{admin, "a broken glass", afterGlass(kindPeer, "host1", patches(kindPeer, "host1", `status: {agent: null}`))},
		},
	},
}

const (
	removalStatus = `status: {phase: Removed}`
	poolStatus    = `status: {addresses: {total: "1"}}`
	noFinalizers  = `metadata: {finalizers: null}`
)

var declarationPolicies = []policyRule{
	{
		policy: "declaration-controller-fields", message: "the status is selvage-controller's",
		says: " is written by selvage-controller alone",
		refuses: []deed{
			{admin, "an administrator's declaring a removal done", patches(kindRemoval, "host3", removalStatus)},
			{admin, "an administrator's accepting a pool", patches(kindPool, "default", poolStatus)},
			{impostor, "a service account that has the controller's name alone", patches(kindRemoval, "host3", removalStatus)},
			{bystander, "breaking the glass without the verb", afterGlass(kindRemoval, "host3", patches(kindRemoval, "host3", removalStatus))},
		},
		passes: []deed{
			{controller, "the controller's verdict", patches(kindRemoval, "host3", removalStatus)},
			{controller, "the controller's counting", patches(kindPool, "default", poolStatus)},
			{admin, "a broken glass", afterGlass(kindRemoval, "host3", patches(kindRemoval, "host3", removalStatus))},
		},
	},
	{
		policy: "declaration-controller-fields", message: "only selvage-controller takes its finalizer off",
		says: "only selvage-controller takes the finalizer net.selvage.dev/",
		refuses: []deed{
			{pipeline, "a pipeline's taking a removal's off", patches(kindRemoval, "host3", noFinalizers)},
			{pipeline, "a pipeline's replacing a removal", replaces(kindRemoval, "host3", `spec: {heir: host1}`)},
			{admin, "an administrator's taking a pool's off", patches(kindPool, "default", noFinalizers)},
			{bystander, "breaking the glass without the verb", afterGlass(kindRemoval, "host3", patches(kindRemoval, "host3", noFinalizers))},
		},
		passes: []deed{
			{controller, "the controller's taking a removal's off", patches(kindRemoval, "host3", noFinalizers)},
			{controller, "the controller's taking a pool's off", patches(kindPool, "default", noFinalizers)},
			{pipeline, "a pipeline's vouching", patches(kindRemoval, "host3", `spec: {assertDown: true}`)},
			{pipeline, "a pipeline's forced apply", forces(kindRemoval, "host3", `spec: {heir: host1}`)},
			{pipeline, "a pipeline's cancelling", deletes(kindRemoval, "host3")},
			{pipeline, "a pipeline's resizing a pool's ranges", patches(kindPool, "default", `spec: {rangePrefixLength: 22}`)},
			{pipeline, "a pipeline's deleting a pool", deletes(kindPool, "default")},
			{admin, "a broken glass", afterGlass(kindPool, "default", patches(kindPool, "default", noFinalizers))},
		},
	},
}

// patchesAsPut changes what is there by a PUT with its resourceVersion, as the
// controller does and its rights demand.
func patchesAsPut(kind, name, body string) request {
	return func(ctx context.Context, c client.Client) error {
		o := get(ctx, c, kind, name)
		merge(o.Object, parse(kind, name, body).Object)
		return c.Update(ctx, o)
	}
}

// replaces is what kubectl replace does: a PUT of the manifest as it is.
func replaces(kind, name, body string) request {
	return func(ctx context.Context, c client.Client) error {
		o := parse(kind, name, body)
		o.SetResourceVersion(get(ctx, c, kind, name).GetResourceVersion())
		return c.Update(ctx, o)
	}
}

// merge is a merge patch: null takes a field away.
func merge(into, from map[string]any) {
	for k, v := range from {
		child, nested := v.(map[string]any)
		target, there := into[k].(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case nested && there:
			merge(target, child)
		default:
			into[k] = v
		}
	}
}
