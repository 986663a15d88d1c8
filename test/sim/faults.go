// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// Op is something that happens to a world from outside: a fault, or what people
// do. It is a line of a script.
type Op struct {
	At   time.Duration
	Verb string
	// Who is a host or a controller.
	Who string
	// For is how long it lasts; 0: it does not end by itself.
	For time.Duration
	// Arg depends on the verb.
	Arg string
}

func (o Op) String() string {
	text := fmt.Sprintf("%s %s", o.At, o.Verb)
	if o.Who != "" {
		text += " " + o.Who
	}
	if o.Arg != "" {
		text += " " + o.Arg
	}
	if o.For > 0 {
		text += " for " + o.For.String()
	}
	return text
}

// verb is what an Op does. What makes no sense at the time does nothing.
type verb struct {
	do func(w *World, o Op)
	// weight is how often it is drawn, of all weights; lasts is how long at
	// most, if it ends by itself.
	weight int
	lasts  time.Duration
	// on: hosts, controllers or both have it happen to them.
	hosts, controllers bool
	// args are drawn from.
	args []string
}

var verbs = map[string]verb{
	// The network.
	"cut":     {weight: 6, lasts: 5 * time.Minute, hosts: true, controllers: true, args: []string{"requests", "replies", "both"}, do: cut},
	"lose":    {weight: 4, lasts: 5 * time.Minute, hosts: true, controllers: true, args: []string{"5", "30"}, do: lose},
	"late":    {weight: 5, lasts: 5 * time.Minute, hosts: true, controllers: true, args: []string{"", "", "all"}, do: late},
	"slow":    {weight: 3, lasts: 3 * time.Minute, hosts: true, controllers: true, do: slow},
	"stall":   {weight: 4, lasts: 4 * time.Minute, hosts: true, controllers: true, do: stall},
	"jumble":  {weight: 4, lasts: 4 * time.Minute, hosts: true, controllers: true, do: jumble},
	"relist":  {weight: 2, hosts: true, controllers: true, do: relist},
	"apidown": {weight: 2, lasts: 3 * time.Minute, do: apiDown},
	"murky":   {weight: 3, lasts: 2 * time.Minute, do: murky},
	// Machines.
	"kill":    {weight: 6, lasts: 30 * time.Second, hosts: true, controllers: true, do: kill},
	"freeze":  {weight: 6, lasts: 4 * time.Minute, hosts: true, controllers: true, do: freeze},
	"off":     {weight: 5, lasts: 8 * time.Minute, hosts: true, do: off},
	"reimage": {weight: 2, lasts: 3 * time.Minute, hosts: true, args: []string{"", "newmachine"}, do: reimage},
	"full":    {weight: 1, lasts: 2 * time.Minute, hosts: true, do: full},
	// People.
	"pods":    {weight: 10, hosts: true, args: []string{"0", "1", "2", "4", "6", "9"}, do: pods},
	"remove":  {weight: 14, hosts: true, args: []string{"", "heir=host1", "heir=host2", "heir=host3", "assert", "assert,heir=host1", "assert,heir=host2"}, do: remove},
	"assert":  {weight: 2, hosts: true, do: assert},
	"cancel":  {weight: 10, hosts: true, do: cancel},
	"leave":   {weight: 3, hosts: true, args: []string{"", "cutoff"}, do: leave},
	"stay":    {weight: 2, hosts: true, do: stay},
	"delnode": {weight: 4, lasts: 6 * time.Minute, hosts: true, do: deleteNode},
	"cordon":  {weight: 2, lasts: 4 * time.Minute, hosts: true, do: cordon},
	"taint":   {weight: 3, lasts: 5 * time.Minute, hosts: true, do: taint},
	"delpods": {weight: 3, hosts: true, do: deletePods},
	"strip":   {weight: 1, hosts: true, do: strip},
	// etcd. Drawn on its own: see Invent.
	"backup":  {do: backup},
	"restore": {args: []string{"", "bump"}, do: restore},
}

// verbNames has them in an order that never changes.
var verbNames = func() (names []string) {
	for name := range verbs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

// Apply has it happen.
func (w *World) Apply(o Op) {
	w.queue.push(event{at: o.At, do: func() {
		w.note("== %s", o)
		verbs[o.Verb].do(w, o)
	}})
}

// links are those of a process, whoever runs it.
func (w *World) linkOf(who string) *link {
	if h := w.Host(who); h != nil {
		return h.link
	}
	for _, c := range w.Controllers {
		if c.name == who {
			return c.link
		}
	}
	return &link{}
}

func cut(w *World, o Op) {
	l := w.linkOf(o.Who)
	l.noRequests, l.noReplies = o.Arg != "replies", o.Arg != "requests"
	w.after(o.For, nil, func() { l.noRequests, l.noReplies = false, false })
}

func lose(w *World, o Op) {
	l := w.linkOf(o.Who)
	l.losses, _ = strconv.Atoi(o.Arg)
	w.after(o.For, nil, func() { l.losses = 0 })
}

func late(w *World, o Op) {
	l := w.linkOf(o.Who)
	l.late = 25
	if o.Arg == "all" {
		l.late = 100
	}
	w.after(o.For, nil, func() { l.late = 0 })
}

func slow(w *World, o Op) {
	l := w.linkOf(o.Who)
	l.slow = true
	w.after(o.For, nil, func() { l.slow = false })
}

func stall(w *World, o Op) {
	if p := w.process(o.Who); p != nil && p.cache != nil {
		p.cache.stalled = w.Now + o.For
	}
}

func jumble(w *World, o Op) {
	p := w.process(o.Who)
	if p == nil || p.cache == nil {
		return
	}
	c := p.cache
	c.jumbled = true
	w.after(o.For, p, func() {
		c.jumbled = false
		c.fail()
	})
}

func relist(w *World, o Op) {
	if p := w.process(o.Who); p != nil && p.cache != nil {
		p.cache.fail()
	}
}

func apiDown(w *World, o Op) {
	w.down = true
	w.after(o.For, nil, func() { w.down = false })
}

func murky(w *World, o Op) {
	w.murky = true
	w.after(o.For, nil, func() { w.murky = false })
}

func kill(w *World, o Op) {
	if h := w.Host(o.Who); h != nil {
		h.kill()
		w.after(o.For, nil, h.start)
		return
	}
	for _, c := range w.Controllers {
		if c.name == o.Who {
			c.kill()
			w.after(o.For, nil, c.start)
		}
	}
}

func freeze(w *World, o Op) {
	if m := w.machine(o.Who); m != nil {
		m.freeze(o.For)
	}
}

func off(w *World, o Op) {
	h := w.Host(o.Who)
	h.switchOff()
	w.after(o.For, nil, h.switchOn)
}

func reimage(w *World, o Op) {
	h := w.Host(o.Who)
	h.switchOff()
	h.disk.set(nil)
	if o.Arg == "newmachine" {
		h.fingerprint += "+"
	}
	w.after(o.For, nil, h.switchOn)
}

func full(w *World, o Op) {
	h := w.Host(o.Who)
	h.disk.full = true
	w.after(o.For, nil, func() { h.disk.full = false })
}

func backup(w *World, _ Op) { w.backup = w.Server.Backup() }

// restore goes back to the backup. API servers start anew with it. A machine
// that sees nothing of it is believed when it comes back, unless it has
// acknowledged a removal: what comes of that is not promised.
func restore(w *World, o Op) {
	if w.backup == nil {
		return
	}
	bump := int64(0)
	if o.Arg == "bump" {
		bump = 1_000_000
	}
	for _, h := range w.Hosts {
		away := h.agent == nil || h.frozen || h.link.noRequests || h.link.noReplies
		if away && h.disk.record.Acknowledged == 0 || w.untold(h) {
			w.checks.believed[h.Name] = true
		}
	}
	w.Server.Restore(w.backup, bump)
	w.restored = true
	w.checks.recount(w)
	for _, h := range w.Hosts {
		if h.agent != nil {
			h.agent.cache.fail()
		}
	}
	for _, c := range w.Controllers {
		if !c.process.dead {
			c.process.cache.fail()
		}
	}
	w.down = true
	w.after(5*time.Second, nil, func() {
		w.down = false
		w.forgetPods()
	})
}

// untold: the host's peer was removed, and its disk does not know it yet.
func (w *World) untold(h *Host) bool {
	r := h.disk.record
	if !r.Joined() || r.IsFenced(r.PeerUID) || r.Acknowledged != 0 {
		return false
	}
	for _, o := range w.Server.List(apiserver.Peers, "") {
		if p := o.(*v1alpha1.Peer); string(p.UID) == r.PeerUID {
			return p.Status.Phase == v1alpha1.PhaseTransferring || p.Status.Phase == v1alpha1.PhaseRemoved
		}
	}
	return true
}

// forgetPods deletes the Pods that no kubelet runs any more: a backup has
// brought them back.
func (w *World) forgetPods() {
	running := map[string]bool{}
	for _, h := range w.Hosts {
		for _, p := range h.pods {
			running[p.name] = true
		}
	}
	for _, o := range w.Server.List(apiserver.Pods, "") {
		if !running[o.GetName()] {
			w.deletePod(o.GetName())
		}
	}
}

func pods(w *World, o Op) {
	w.Host(o.Who).wanted, _ = strconv.Atoi(o.Arg)
}

// remove declares a host out. An assertion is true, or the host is switched
// off while it stands: what a false one can do is not promised.
func remove(w *World, o Op) {
	r := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: o.Who}}
	for _, part := range splitArgs(o.Arg) {
		if heir, ok := cutPrefix(part, "heir="); ok && heir != o.Who {
			r.Spec.Heir = heir
		}
		if part == "assert" {
			r.Spec.AssertDown = true
		}
	}
	w.put(r)
}

func assert(w *World, o Op) {
	got, err := w.Server.Get(apiserver.Removals, "", o.Who)
	if err != nil {
		return
	}
	r := copied(got).(*v1alpha1.PeerRemoval)
	r.Spec.AssertDown = true
	w.update(r)
}

func (w *World) update(o client.Object) {
	if _, err := w.Server.Update(o, false); err != nil {
		w.note("updating %s: %v", o.GetName(), err)
	}
}

func cancel(w *World, o Op) {
	if err := w.Server.Delete(apiserver.Removals, "", o.Who, nil); err != nil {
		w.note("deleting PeerRemoval %s: %v", o.Who, err)
	}
}

func leave(w *World, o Op) {
	if h := w.Host(o.Who); h.agent != nil {
		h.agent.membership.Leave("somebody", o.Arg == "cutoff")
	}
}

func stay(w *World, o Op) {
	if h := w.Host(o.Who); h.agent != nil {
		h.agent.membership.Stay()
	}
}

func deleteNode(w *World, o Op) {
	h := w.Host(o.Who)
	if err := w.Server.Delete(apiserver.Nodes, "", o.Who, nil); err != nil {
		return
	}
	w.after(o.For, nil, func() { w.addNode(h) })
}

func (w *World) changeNode(name string, change func(*corev1.Node)) {
	got, err := w.Server.Get(apiserver.Nodes, "", name)
	if err != nil {
		return
	}
	n := copied(got).(*corev1.Node)
	change(n)
	w.update(n)
}

func cordon(w *World, o Op) {
	w.changeNode(o.Who, func(n *corev1.Node) { n.Spec.Unschedulable = true })
	w.after(o.For, nil, func() {
		w.changeNode(o.Who, func(n *corev1.Node) { n.Spec.Unschedulable = false })
	})
}

func taint(w *World, o Op) {
	w.changeNode(o.Who, func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: v1alpha1.OutOfServiceTaint}} })
	w.after(o.For, nil, func() { w.changeNode(o.Who, func(n *corev1.Node) { n.Spec.Taints = nil }) })
}

// deletePods deletes a host's Pod objects, by force: what they had runs on.
func deletePods(w *World, o Op) {
	for _, p := range w.Host(o.Who).pods {
		w.deletePod(p.name)
	}
}

// strip takes a Peer away past its finalizer.
func strip(w *World, o Op) { w.Server.Strip(apiserver.Peers, "", o.Who) }
