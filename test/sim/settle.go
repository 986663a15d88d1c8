// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// most is how long something may take once nothing fails any more: that many
// Leases run out, one after the other. A removal watches one for its full time,
// its barrier another's, and what it waits for may be a removal itself.
func (w *World) most(leases int) time.Duration {
	return 4*time.Minute + time.Duration(leases)*w.Lease
}

// podsInEnd is how many pods each host is to run in the end.
const podsInEnd = 2

// settle ends all faults and sees that everything comes to rest: removals end,
// or wait for something that they name; once people have taken theirs back,
// every host is a member, and pods get addresses.
func (w *World) settle() {
	w.heal()
	w.runUntil(w.most(6), w.moving)
	w.decide()
	w.runUntil(w.most(10), w.moving)
	w.restart()
	w.Violations = append(w.Violations, w.moving()...)
	for _, o := range w.Server.List(apiserver.Removals, "") {
		cancel(w, Op{Who: o.GetName()})
	}
	w.runUntil(w.most(4), w.restless)
	w.decide()
	w.runUntil(w.most(10), w.restless)
	w.restart()
	w.runUntil(w.most(4), w.restless)
	w.Violations = append(w.Violations, w.restless()...)
}

// runUntil goes on until nothing is found, for that long at most.
func (w *World) runUntil(most time.Duration, find func() []ownership.Violation) {
	for until := w.Now + most; len(w.Violations) == 0 && w.Now < until; {
		w.Run(w.Now + 15*time.Second)
		if len(w.Violations) == 0 && len(find()) == 0 {
			return
		}
	}
}

// decide does what is left to people: who wished to leave stays, and what the
// API has forgotten is given up.
func (w *World) decide() {
	for _, h := range w.Hosts {
		if h.agent == nil {
			continue
		}
		if now := h.agent.membership.Progress(); now.Row == membership.Regressed.String() || strings.HasPrefix(now.Waiting, "StateRegressed") {
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
		h.link.noRequests, h.link.noReplies, h.link.losses, h.link.late, h.link.slow = false, false, 0, 0, false
		h.disk.full = false
		h.thaw()
		h.switchOn()
		h.start()
		w.addNodeIfGone(h)
		w.changeNode(h.Name, func(n *corev1.Node) { n.Spec.Unschedulable, n.Spec.Taints = false, nil })
		h.wanted = 0 // drained
	}
	for _, c := range w.Controllers {
		c.link.noRequests, c.link.noReplies, c.link.losses, c.link.late, c.link.slow = false, false, 0, 0, false
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

// found makes up a violation that may yet pass.
func found(invariant, kind, name, format string, args ...any) []ownership.Violation {
	return []ownership.Violation{{Invariant: invariant, Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)}}
}

// moving are the removals that have not ended, and do not say that they wait
// for what somebody has to do.
func (w *World) moving() (out []ownership.Violation) {
	if w.restored {
		return nil // a person has to bring back what was forgotten, or give it up
	}
	w.checks.counts[Progress]++
	for _, o := range w.Server.List(apiserver.Peers, "") {
		p := o.(*v1alpha1.Peer)
		if p.Spec.Removal == nil || p.Status.Phase == v1alpha1.PhaseRemoved {
			continue
		}
		i := slices.IndexFunc(p.Status.Conditions, func(c metav1.Condition) bool {
			return c.Status == metav1.ConditionTrue && (c.Type == v1alpha1.ConditionStalled || c.Type == v1alpha1.ConditionReconciling)
		})
		switch {
		case i < 0 || p.Status.Conditions[i].Message == "":
			out = append(out, found(Progress, "Peer", p.Name, "%s, and nothing says what it waits for", p.Status.Phase)...)
		case p.Status.Conditions[i].Type == v1alpha1.ConditionReconciling:
			out = append(out, found(Progress, "Peer", p.Name, "%s, though nothing fails any more: %s", p.Status.Phase, p.Status.Conditions[i].Message)...)
		}
	}
	return out
}

// restless is what is still on its way, and who is not served.
func (w *World) restless() (out []ownership.Violation) {
	if w.restored {
		return nil // a person has to bring back what was forgotten, or give it up
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
	snapshot, _ := controllers.Convert(all)
	w.schedule()
	w.checks.counts[ownership.NoLoss]++
	out = append(ownership.Check(&snapshot), ownership.Unsettled(&snapshot)...)
	for _, h := range w.Hosts {
		if err := h.agent.membership.Ready(); err != nil {
			out = append(out, found(Progress, "host", h.Name, "it is %s, and allocates nothing: %v", h.agent.membership.Progress().Row, err)...)
			continue
		}
		served := 0
		for _, p := range h.pods {
			if p.addr.IsValid() {
				served++
			}
		}
		if served < podsInEnd && !w.exhausted() {
			out = append(out, found(Progress, "host", h.Name, "%d of %d pods have an address", served, podsInEnd)...)
		}
	}
	return out
}

// schedule has pods run where they can; where they cannot, it drains.
func (w *World) schedule() {
	for _, h := range w.Hosts {
		h.wanted = 0
		if h.agent.membership.Ready() == nil {
			h.wanted = podsInEnd
		}
	}
}

// exhausted: ranges cover all of the pool. Who needs one waits for somebody's
// that is idle.
func (w *World) exhausted() bool {
	pool, err := netip.ParsePrefix(w.Pool)
	left := 1 << (32 - pool.Bits())
	for _, r := range w.checks.ranges {
		left -= 1 << (32 - r.cidr.Bits())
	}
	return err == nil && left == 0
}
