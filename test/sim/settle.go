// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// How long things may take once nothing fails any more: a removal watches a
// lease for its full time, its barrier another's, and what it waits for may be
// a removal itself.
func (w *World) rest(rounds int) time.Duration { return 2*time.Minute + time.Duration(rounds)*w.Lease }

// podsInEnd is how many pods each host is to run in the end.
const podsInEnd = 2

// settle ends all faults and sees that everything comes to rest: removals end,
// or wait for something that they name; once people have taken theirs back,
// every host is a member, and pods get addresses.
func (w *World) settle() {
	w.heal()
	w.Run(w.Now + w.rest(6))
	w.decide()
	w.Run(w.Now + w.rest(10))
	w.restart()
	w.checkWaits()
	for _, o := range w.Server.List(apiserver.Removals, "") {
		cancel(w, Op{Who: o.GetName()})
	}
	for _, h := range w.Hosts {
		h.wanted = podsInEnd
	}
	w.Run(w.Now + w.rest(4))
	w.decide()
	w.Run(w.Now + w.rest(4))
	w.restart()
	w.Run(w.Now + w.rest(2))
	w.checkRest()
}

// decide does what is left to people: who wished to leave stays, and what the
// API has forgotten is given up.
func (w *World) decide() {
	for _, h := range w.Hosts {
		if h.agent == nil {
			continue
		}
		if now := h.agent.membership.Progress(); now.Row == membership.Regressed.String() {
			h.agent.membership.Leave("reset", true)
		} else if !now.Left {
			h.agent.membership.Stay()
		}
	}
	w.restart()
}

// restart starts agents anew that have left for good.
func (w *World) restart() {
	for _, h := range w.Hosts {
		if h.agent != nil && h.agent.membership.Progress().Left {
			h.kill()
			h.start()
		}
	}
}

// heal ends every fault.
func (w *World) heal() {
	w.down, w.murky = false, false
	for _, h := range w.Hosts {
		h.link.noRequests, h.link.noReplies, h.link.losses, h.link.late = false, false, 0, false
		h.disk.full = false
		h.thaw()
		h.switchOn()
		h.start()
		w.addNodeIfGone(h)
		w.changeNode(h.Name, func(n *corev1.Node) { n.Spec.Unschedulable, n.Spec.Taints = false, nil })
		h.wanted = 0 // drained
	}
	for _, c := range w.Controllers {
		c.link.noRequests, c.link.noReplies, c.link.losses, c.link.late = false, false, 0, false
		c.thaw()
		c.start()
	}
	if o, err := w.Server.Get(apiserver.Pools, "", "default"); err == nil {
		// Whatever was held back is let go.
		pool := copied(o).(*v1alpha1.AddressPool)
		metav1.SetMetaDataAnnotation(&pool.ObjectMeta, v1alpha1.ReleaseAnnotation, w.wall().Format(time.RFC3339))
		w.update(pool)
	}
}

func (w *World) addNodeIfGone(h *Host) {
	if _, err := w.Server.Get(apiserver.Nodes, "", h.Name); err != nil {
		w.addNode(h)
	}
}

// checkWaits: every removal has ended, or says what it waits for.
func (w *World) checkWaits() {
	if len(w.Violations) > 0 {
		return
	}
	w.checks.counts[Progress]++
	for _, o := range w.Server.List(apiserver.Peers, "") {
		p := o.(*v1alpha1.Peer)
		if p.Spec.Removal == nil || p.Status.Phase == v1alpha1.PhaseRemoved {
			continue
		}
		named := false
		for _, c := range p.Status.Conditions {
			if c.Status == metav1.ConditionTrue && (c.Type == v1alpha1.ConditionStalled || c.Type == v1alpha1.ConditionReconciling) {
				named = named || c.Message != ""
				if c.Type == v1alpha1.ConditionReconciling {
					w.violated(Progress, "Peer", p.Name, "%s after %s of calm: %s", p.Status.Phase, w.rest(16), c.Message)
				}
			}
		}
		if !named {
			w.violated(Progress, "Peer", p.Name, "%s, and nothing says what it waits for", p.Status.Phase)
		}
	}
}

// checkRest: nothing is on its way any more, and everybody is served.
func (w *World) checkRest() {
	if len(w.Violations) > 0 {
		return
	}
	var all controllers.Objects
	for _, o := range w.Server.List(apiserver.Peers, "") {
		all.Peers = append(all.Peers, *o.(*v1alpha1.Peer))
	}
	for _, o := range w.Server.List(apiserver.Ranges, "") {
		all.Ranges = append(all.Ranges, *o.(*v1alpha1.AddressRange))
	}
	for _, o := range w.Server.List(apiserver.Pools, "") {
		all.Pools = append(all.Pools, *o.(*v1alpha1.AddressPool))
	}
	for _, o := range w.Server.List(apiserver.Leases, Namespace) {
		all.Leases = append(all.Leases, *o.(*coordinationv1.Lease))
	}
	snapshot, _ := controllers.Convert(all)
	w.checks.counts[ownership.NoLoss]++
	w.Violations = append(w.Violations, ownership.Check(&snapshot)...)
	w.Violations = append(w.Violations, ownership.Unsettled(&snapshot)...)
	for _, h := range w.Hosts {
		if err := h.agent.membership.Ready(); err != nil {
			w.violated(Progress, "host", h.Name, "it is %s, and allocates nothing: %v", h.agent.membership.Progress().Row, err)
			continue
		}
		served := 0
		for _, p := range h.pods {
			if p.addr.IsValid() {
				served++
			}
		}
		if served < podsInEnd && !w.exhausted() {
			w.violated(Progress, "host", h.Name, "%d of %d pods have an address", served, podsInEnd)
		}
	}
}

// exhausted: the pool has no room for another range, and nobody has one to
// give back.
func (w *World) exhausted() bool {
	pool, err := netip.ParsePrefix(w.Pool)
	return err == nil && 1<<(29-pool.Bits()) < len(w.Hosts)
}
