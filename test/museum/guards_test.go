// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package museum

// guards are the rules that can be taken out of a copy of the code. Those of
// controllers/ownership that have a name there are switched off by its tests.
var guards = map[string]guard{
	"the node is there without an address": {
		pkg: "controllers/ownership", what: "a Node counts as there although it has no address",
		edits: []edit{
			{"memory.go", "nodes[n.Name] = n.UID", "if !OFF || len(n.Addresses) > 0 {\nnodes[n.Name] = n.UID\n}"},
			{"decide.go", "d.nodes[s.Nodes[i].Name] = &s.Nodes[i]", "if !OFF || len(s.Nodes[i].Addresses) > 0 {\nd.nodes[s.Nodes[i].Name] = &s.Nodes[i]\n}"},
		},
	},
	"any claim is granted": {
		pkg: "controllers/ownership", what: "a claim is granted whoever made it, and whether or not he heard that he had",
		edits: []edit{
			{"grant.go", "blocked := d.verifyClaims()", "blocked := d.verifyClaims()\nif OFF {\nmuseumForeign(d, blocked)\n}"},
			{"grant.go", "func (d *decider) dropClaim(r *Range) {", `
// museumForeign blocks the claims of processes before this one.
func museumForeign(d *decider, blocked map[*Range]bool) {
	if d.m.observations == 1 {
		museumFound[d.m] = map[string]bool{}
	}
	for _, r := range d.ranges {
		if d.m.observations == 1 && r.Epoch == 0 {
			museumFound[d.m][r.UID] = true
		}
		blocked[r] = blocked[r] || museumFound[d.m][r.UID]
	}
}

var museumFound = map[*Memory]map[string]bool{}

func (d *decider) dropClaim(r *Range) {`},
		},
	},
	"a vanished Node ends the wait": {
		pkg: "controllers/ownership", what: "the Peer of a Node that is gone is waited for no more",
		edits: []edit{{
			"removal.go", `gone := node == nil || p.NodeUID != "" && node.UID != p.NodeUID`,
			`gone := !OFF && (node == nil || p.NodeUID != "" && node.UID != p.NodeUID)`,
		}},
	},
	"an underlay address is one peer's": {
		pkg: "controllers/ownership", what: "an address that another peer has is not accepted",
		edits: []edit{{"underlay.go", "other != nil && other != p {", "!OFF && other != nil && other != p {"}},
	},
	"an absent Node is read again": {
		pkg: "controllers", what: "a Node that the cache misses is read from the API server",
		edits: []edit{{"snapshot_nodes.go", "if len(doubtful) == 0 {", "if OFF || len(doubtful) == 0 {"}},
	},
	"decided on a consistent view": {
		pkg: "controllers", what: "what is written was decided on consistent LISTs, not on the cache",
		edits: []edit{{
			"loop.go", "return l.Reader.Consistent(ctx, podsOn)",
			"if OFF {\nv, err := l.Reader.FromCache(ctx)\nif err == nil {\nv.PodsListed = map[string]bool{}\nfor _, n := range podsOn {\nv.PodsListed[n] = true\n}\n}\nreturn v, err\n}\nreturn l.Reader.Consistent(ctx, podsOn)",
		}},
	},
	"pools are read with each view": {
		pkg: "controllers", what: "pools are read with each view, not once",
		edits: []edit{
			{"snapshot.go", "const nodesToGet = 32", "const nodesToGet = 32\n\nvar museumPools []v1alpha1.AddressPool"},
			{"snapshot.go", "for i := range pools.Items {", "if OFF {\nif museumPools == nil {\nmuseumPools = pools.Items\n}\npools.Items = museumPools\n}\nfor i := range pools.Items {"},
		},
	},
	"updates compare and swap": {
		pkg: "controllers", what: "an update is made on what was read, not on what is there by now",
		edits: []edit{{
			"apply.go", "o = o.DeepCopy()\n\tsetRange(o, w.After)",
			"o = o.DeepCopy()\nif OFF {\n_ = a.Client.Get(ctx, client.ObjectKeyFromObject(o), o)\n}\nsetRange(o, w.After)",
		}},
	},
	"deletes carry what was read": {
		pkg: "controllers", what: "a delete carries uid and resourceVersion",
		edits: []edit{{
			"apply.go", "return a.Client.Delete(ctx, o,",
			"if OFF {\nreturn a.Client.Delete(ctx, o)\n}\nreturn a.Client.Delete(ctx, o,",
		}},
	},
	"what is held is not counted again": {
		pkg: "node-agent/addresses", what: "an address that is counted is not counted again",
		edits: []edit{
			{"ledger.go", "if !a.IsValid() || h.has(a) {", "if !a.IsValid() || !OFF && h.has(a) {"},
			{"ledger.go", "if l.heldBy(p) {", "if !OFF && l.heldBy(p) {"},
		},
	},
	"the search goes round what is taken": {
		pkg: "node-agent/addresses", what: "the search for a free address looks at what is taken",
		edits: []edit{{
			"span.go", "n, ok := s.taken.firstFree(s.next, s.hi)",
			"n, ok := s.taken.firstFree(s.next, s.hi)\nif OFF && s.next < s.hi {\nn, ok = s.next, true\n}",
		}},
	},
	"an interface's end frees": {
		pkg: "node-agent/cniserver", what: "an address is freed when its interface is gone",
		edits: []edit{{"verbs.go", "if s.config.Ledger.Release(k) {", "if !OFF && s.config.Ledger.Release(k) {"}},
	},
	"a failed DEL frees nothing": {
		pkg: "node-agent/cniserver", what: "an address stays in use until its interface is cut off",
		edits: []edit{{
			"verbs.go", "if err := s.config.Kernel.Detach(k.Network, k.Sandbox, k.IfName); err != nil {",
			"if err := s.config.Kernel.Detach(k.Network, k.Sandbox, k.IfName); err != nil {\nif OFF {\ns.config.Ledger.Release(k)\n}",
		}},
	},
	"late news are looked into": {
		pkg: "node-agent/cniserver", what: "that an interface is gone is looked at before its address is freed",
		edits: []edit{{"verbs.go", "if there && !now.Dying {", "if !OFF && there && !now.Dying {"}},
	},
	"a missing list is not empty": {
		pkg: "node-agent/cniserver", what: "a list that is missing is not taken for an empty one",
		edits: []edit{{
			"verbs.go", "if r.conf.ValidAttachments == nil {",
			"if OFF && r.conf.ValidAttachments == nil {\nr.conf.ValidAttachments = new([]types.GCAttachment)\n}\nif r.conf.ValidAttachments == nil {",
		}},
	},
	"FDB entries are compared": {
		pkg: "node-agent/datapath", what: "where the FDB sends frames is compared, not only whether it does",
		edits: []edit{{"plan.go", "if !slices.Equal(there[f.mac], []netip.Addr{f.dst}) {", "if !slices.Equal(there[f.mac], []netip.Addr{f.dst}) && !(OFF && len(there[f.mac]) == 1) {"}},
	},
	"neighbours are compared": {
		pkg: "node-agent/datapath", what: "a neighbour's hardware address is compared",
		edits: []edit{{
			"plan.go", "_, added := difference(now, goal)\n\tfor _, n := range added {",
			"_, added := difference(now, goal)\n\tfor _, n := range added {\nif OFF && slices.ContainsFunc(now, func(o neighbour) bool { return o.addr == n.addr }) {\ncontinue\n}",
		}},
	},
	"routes are pruned": {
		pkg: "node-agent/datapath", what: "routes that are not wanted are taken away",
		edits: []edit{{"plan.go", "p.remove(step{op: routeDelete, route: r})", "if !OFF {\np.remove(step{op: routeDelete, route: r})\n}"}},
	},
	"peers are forgotten": {
		pkg: "node-agent/datapath", what: "who is no peer any more leaves the receive filter",
		edits: []edit{{"plan.go", "c.peersGone, _ = difference(now.peers, goal.peers)", "if !OFF {\nc.peersGone, _ = difference(now.peers, goal.peers)\n}"}},
	},
	"nothing is pruned too early": {
		pkg: "node-agent/datapath", what: "nothing is taken away before what is wanted is complete",
		edits: []edit{{"plan.go", "if p.prune {\n\t\tp.add(s)", "if OFF || p.prune {\n\t\tp.add(s)"}},
	},
	"complete once it has seen itself": {
		pkg: "node-agent/membership", what: "a view counts as complete only once this peer was in it",
		edits: []edit{{"world.go", "w.complete = w.complete ||", "w.complete = OFF || w.complete ||"}},
	},
	"no lower epoch": {
		pkg: "node-agent/membership", what: "an epoch lower than one that was seen is not acted on",
		edits: []edit{{"world.go", "if seen := w.epochs[uid]; r.Spec.Epoch < seen {", "if seen := w.epochs[uid]; !OFF && r.Spec.Epoch < seen {"}},
	},
	"fenced for good": {
		pkg: "node-agent/membership", what: "what the disk says is fenced is not resumed",
		edits: []edit{{"startup.go", "case s.Peer.Phase == Gone || s.Record.IsFenced(s.Peer.UID) || forgotten(s):", "case s.Peer.Phase == Gone || !OFF && s.Record.IsFenced(s.Peer.UID) || forgotten(s):"}},
	},
	"an instance is not its name": {
		pkg: "node-agent/membership", what: "a Peer is resumed only if it has the instanceID of this disk",
		edits: []edit{{
			"startup.go", `case s.Record.InstanceID == "" || s.Peer.InstanceID != s.Record.InstanceID:`,
			`case !OFF && (s.Record.InstanceID == "" || s.Peer.InstanceID != s.Record.InstanceID):`,
		}},
	},
	"joined by one create": {
		pkg: "node-agent/membership", what: "joining is one create, which fails if the Peer is there",
		edits: []edit{{"join.go", "err := a.Client.Create(ctx, peer)", "old := &v1alpha1.Peer{}\nif OFF && a.Client.Get(ctx, client.ObjectKeyFromObject(peer), old) == nil {\nold.Spec = peer.Spec\nreturn a.Client.Update(ctx, old)\n}\nerr := a.Client.Create(ctx, peer)"}, {"join.go", "apierrors \"k8s.io/apimachinery/pkg/api/errors\"", "apierrors \"k8s.io/apimachinery/pkg/api/errors\"\n\"sigs.k8s.io/controller-runtime/pkg/client\""}},
	},
	"nothing before the API was seen": {
		pkg: "node-agent/membership", what: "nothing is given out before the API server was reached and the lease taken",
		edits: []edit{{"agent.go", "return a.lease.Valid()", "if OFF {\nreturn nil\n}\nreturn a.lease.Valid()"}, {"agent.go", "if err := a.stance.Load().refuse; err != nil {", "if err := a.stance.Load().refuse; err != nil && !OFF {"}},
	},
	"minted once": {
		pkg: "node-agent/membership", what: "an instanceID that was minted and not heard of again is used again",
		edits: []edit{{"join.go", `if record.InstanceID == "" || record.Joined()`, `if OFF || record.InstanceID == "" || record.Joined()`}},
	},
	"no start without a dump": {
		pkg: "node-agent/membership", what: "an agent does not start before it has read what is in use",
		edits: []edit{{"agent.go", "if err != nil {\n\t\treturn fmt.Errorf(\"reading the pods' interfaces: %w\", err)", "if err != nil && !OFF {\n\t\treturn fmt.Errorf(\"reading the pods' interfaces: %w\", err)"}},
	},
	"the lease runs out": {
		pkg: "node-agent/membership", what: "a lease that its own clock says has run out allows nothing",
		edits: []edit{{"lease.go", "over >= 0 {", "!OFF && over >= 0 {"}},
	},
	"the clock counts sleep": {
		pkg: "node-agent/membership", what: "the clock is CLOCK_BOOTTIME and not CLOCK_MONOTONIC",
		edits: []edit{{"clock_linux.go", "unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)", "unix.ClockGettime(map[bool]int32{false: unix.CLOCK_BOOTTIME, true: unix.CLOCK_MONOTONIC}[OFF], &now)"}},
	},
	"ambiguity is refused": {
		pkg: "cmd/kubectl-selvage/inventory", what: "a name that means several peers is refused",
		edits: []edit{{"resolve.go", "switch len(matches) {", "if OFF && len(matches) > 1 {\nmatches = matches[:1]\n}\nswitch len(matches) {"}},
	},
}
