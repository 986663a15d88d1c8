// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Chooser picks a number from 0 to n-1: a seeded generator, or a test that can
// shrink what it has chosen.
type Chooser interface{ Intn(n int) int }

// Chaos does one thing at random after another, each a single step of one
// party, so that every interleaving can come about.
type Chaos struct {
	World  *World
	Choose Chooser
	// Script is what was done, a line a step: what a failure prints.
	Script []string
	// Writes counts what the controllers wrote, Refused what they tried to.
	Writes, Refused int

	// calm is how often, of four, a party does all that is due at once, and
	// rough how often, of four, machines fail and people intervene. Some
	// histories are quiet enough for long plans to come to their end.
	calm, rough int
	// stripped: a Peer was taken past its finalizer, which leaves an agent
	// that cannot know whether it was ever removed.
	stripped bool
}

// NewChaos is a cluster of a few hosts that share 16 addresses, and two
// controllers, with clocks that run up to 3 % fast or slow.
func NewChaos(choose Chooser, hosts int, cfg ownership.Config) *Chaos {
	w := NewWorld(time.Minute)
	p := ownership.Pool{CIDR: netip.MustParsePrefix("10.0.0.0/28"), First: 30 + choose.Intn(2), Max: 28 + choose.Intn(3)}
	p.Name = "default"
	w.Store.AddPool(p)
	if cfg.GracePeriod == 0 {
		cfg.GracePeriod = 30 * time.Second
	}
	for range 2 {
		cfg.Seed = uint64(choose.Intn(3))
		c := w.AddController(cfg)
		c.Rate = 0.97 + 0.03*float64(choose.Intn(3))
	}
	for i := range hosts {
		h := w.AddHost(fmt.Sprintf("host%d", i+1))
		h.Rate = 0.97 + 0.03*float64(choose.Intn(3))
		h.Headroom = 1
		w.StartAgent(h)
	}
	c := &Chaos{World: w, Choose: choose, calm: choose.Intn(4), rough: 1 + choose.Intn(4)}
	w.OnRefusal = func(*Controller, ownership.Write, error) { c.Refused++ }
	if choose.Intn(2) == 0 {
		w.Run(30 * time.Second)
	}
	return c
}

// Step does one thing.
func (c *Chaos) Step() {
	w := c.World
	switch n := c.Choose.Intn(40); {
	case n < 16:
		c.controller(w.Controllers[c.Choose.Intn(len(w.Controllers))])
	case n < 34:
		c.host(w.Hosts[c.Choose.Intn(len(w.Hosts))])
	case n < 37:
		t := time.Duration(1+c.Choose.Intn(8)) * 5 * time.Second
		c.say("tick %s", t)
		w.Tick(t)
	default:
		c.people(w.Hosts[c.Choose.Intn(len(w.Hosts))])
	}
	w.CheckHolders()
}

func (c *Chaos) say(format string, args ...any) {
	c.Script = append(c.Script, fmt.Sprintf("%s ", c.World.Now)+fmt.Sprintf(format, args...))
}

func (c *Chaos) controller(k *Controller) {
	w := c.World
	switch n := c.Choose.Intn(20); {
	case n == 0:
		c.say("%s crashes", k.Name)
		k.Crash()
	case n < 9 && k.Pending() > 0:
		next, err := w.Write(k)
		c.say("%s: %s: %v", k.Name, next, err)
		c.count(err)
	case n < 13 && k.Pending() == 0:
		done := w.Pass(k)
		c.Writes += len(done)
		c.say("%s passes: %v", k.Name, done)
	case k.Pending() > 0:
	default:
		if w.Read(k) {
			w.Decide(k)
			c.say("%s decides: %v, lists pods of %v", k.Name, k.queue, k.pods)
		}
	}
}

func (c *Chaos) count(err error) {
	if err != nil {
		c.Refused++
	} else {
		c.Writes++
	}
}

func (c *Chaos) host(h *Host) {
	w := c.World
	was := h.Mode
	what := ""
	if c.Choose.Intn(4) < c.calm {
		w.Work(h)
		c.say("%s works (%s, was %s)", h.Name, h.Mode, was)
		return
	}
	switch n := c.Choose.Intn(60); {
	case n < 8:
		w.Sync(h)
		what = "syncs"
	case n < 14:
		w.RenewSend(h)
		what = "sends a renewal"
	case n < 21:
		w.RenewLand(h)
		what = "a renewal lands"
	case n < 25:
		w.TakeRead(h)
		what = "reads its lease"
	case n < 31:
		w.TakeWrite(h)
		what = "takes its lease"
	case n < 42:
		a, ok := w.Allocate(h)
		if !ok {
			return
		}
		what = "allocates " + a.String()
	case n < 45:
		for a := range h.pods {
			w.PostPod(h, a)
		}
		what = "posts its pods"
	case n < 47:
		for _, a := range sortedAddrs(h.pods) {
			w.Release(h, a)
			what = "releases " + a.String()
			break
		}
	case n < 50:
		w.Report(h)
		what = "reports"
	case n < 57:
		if h.Mode == Fenced && w.gone(h) {
			h.Mode = Stopped
		}
		w.StartAgent(h)
		what = "starts its agent"
	default:
		what = c.fault(h)
	}
	if what != "" {
		c.say("%s %s (%s, was %s)", h.Name, what, h.Mode, was)
	}
}

func (c *Chaos) fault(h *Host) string {
	w := c.World
	if c.Choose.Intn(4) >= c.rough {
		return ""
	}
	switch c.Choose.Intn(8) {
	case 0:
		w.StopAgent(h)
		return "'s agent stops"
	case 1:
		w.PowerOff(h)
		return "is switched off"
	case 2, 3:
		h.On = true
		return "is switched on"
	case 4:
		h.Cut = true
		return "is cut off"
	case 5, 6:
		h.Cut = false
		return "is reachable"
	}
	h.Silent = !h.Silent
	if !h.Silent {
		w.Store.Beat(h.Name)
	}
	return fmt.Sprintf("'s kubelet is silent: %t", h.Silent)
}

func (c *Chaos) people(h *Host) {
	w := c.World
	if c.Choose.Intn(4) >= c.rough {
		return
	}
	other := w.Hosts[c.Choose.Intn(len(w.Hosts))].Name
	switch n := c.Choose.Intn(24); {
	case n < 6:
		d := ownership.Declaration{}
		d.Name = h.Name
		if n < 4 {
			d.Heir = other
		}
		c.say("remove %s heir %q: %v", h.Name, d.Heir, w.Store.Declare(d))
	case n < 11:
		c.say("delete the removal of %s", h.Name)
		w.Store.Undeclare(h.Name)
	case n == 11:
		d := w.Store.removals[h.Name]
		if d.UID == "" {
			return
		}
		d.AssertDown = true
		w.Lie(h.Name)
		c.say("assert that %s is down: %v", h.Name, w.Store.Declare(d))
	case n < 15:
		c.mark(h, n == 12)
	case n == 15:
		w.Store.DeleteNode(h.Name)
		c.say("node %s is deleted", h.Name)
	case n < 18:
		c.register(h)
	case n == 18:
		w.PowerOff(h)
		h.On, h.instance, h.joined = true, "", ""
		c.say("%s is re-imaged", h.Name)
	case n == 19:
		h.leaving = !h.leaving
		c.say("%s leaves: %t", h.Name, h.leaving)
	case n == 20:
		w.Store.DeleteLease(h.Name)
		c.say("the lease of %s is deleted", h.Name)
	case n == 21:
		w.Store.StripPeer(h.Name)
		c.stripped = true
		c.say("peer %s is deleted past its finalizer", h.Name)
	case n == 22:
		w.Store.DeletePeer(h.Name)
		c.say("peer %s is deleted", h.Name)
	default:
		h.Headroom = int64(c.Choose.Intn(6))
		c.say("%s wants headroom %d", h.Name, h.Headroom)
	}
}

// mark taints or cordons the Node, or takes that back.
func (c *Chaos) mark(h *Host, taint bool) {
	node, ok := c.World.Store.Node(h.Name)
	if !ok {
		return
	}
	if taint {
		node.OutOfService = !node.OutOfService
	} else {
		node.Unschedulable = !node.Unschedulable
	}
	c.World.Store.SetNode(node)
	c.say("%s out of service: %t, cordoned: %t", h.Name, node.OutOfService, node.Unschedulable)
}

func (c *Chaos) register(h *Host) {
	if _, ok := c.World.Store.Node(h.Name); !ok {
		i := byte(0)
		for j, o := range c.World.Hosts {
			if o == h {
				i = byte(j + 1)
			}
		}
		c.World.Store.SetNode(ownership.Node{Name: h.Name, HeartbeatDuration: 40 * time.Second, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, 77, i})}})
		c.say("node %s is registered anew", h.Name)
	}
}

func sortedAddrs(pods map[netip.Addr]string) []netip.Addr {
	var out []netip.Addr
	for a := range pods {
		out = append(out, a)
	}
	for i := range out {
		for j := i; j > 0 && out[j].Less(out[j-1]); j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// Settle ends the chaos: everything that is on can reach everything, one fresh
// controller works, nodes are there, and time passes. It returns what has not
// come to an end, and is not waiting for a person.
func (c *Chaos) Settle() []ownership.Violation {
	w := c.World
	c.say("settle")
	for _, h := range w.Hosts {
		h.Cut, h.Silent, h.leaving = false, false, false
		c.register(h)
		if node, ok := w.Store.Node(h.Name); ok {
			node.OutOfService, node.Unschedulable = false, true
			w.Store.SetNode(node)
		}
		w.StartAgent(h)
		for a := range h.pods {
			w.PostPod(h, a)
		}
	}
	for uid, p := range w.Store.pods {
		if h := w.Host(p.Node); h == nil || !h.On || len(p.Addresses) == 0 || h.pods[p.Addresses[0]] != uid {
			w.Store.DeletePod(uid)
		}
	}
	w.Controllers = w.Controllers[:1]
	k := w.Controllers[0]
	k.Crash()
	k.Config.Seed = 0
	for range 40 {
		w.drain()
		w.Run(w.Duration / 2)
	}
	w.CheckHolders()
	after := w.Store.Snapshot()
	waits := map[string]ownership.Wait{}
	for _, wait := range k.last.Waits {
		waits[wait.Kind+" "+wait.Name] = wait
	}
	var out []ownership.Violation
	for _, v := range ownership.Unsettled(&after) {
		if wait, ok := waits[v.Kind+" "+v.Name]; !ok || !wait.Stalled {
			v.Message += fmt.Sprintf(" (waits for: %s %s)", wait.Reason, wait.Message)
			out = append(out, v)
		}
	}
	for _, h := range w.Hosts {
		// Whoever was not robbed of its Peer serves again, or is out by declaration.
		if _, declared := w.Store.removals[h.Name]; h.On && !declared && !c.stripped && h.Mode != Serving && h.Mode != Stopped {
			out = append(out, ownership.Violation{Invariant: ownership.NoLoss, Kind: "Host", Name: h.Name, Message: "is " + string(h.Mode) + " for ever"})
		}
	}
	return out
}

// drain deletes the pods of hosts that are to be removed, as kubectl drain does.
func (w *World) drain() {
	for _, h := range w.Hosts {
		if p, ok := w.Store.Peer(h.Name); ok && p.Removal != nil {
			for _, a := range sortedAddrs(h.pods) {
				w.Release(h, a)
			}
		}
	}
}

// Story is the script up to now, for a failure's message.
func (c *Chaos) Story() string {
	return strings.Join(append(c.Script, c.World.Ownership()...), "\n")
}
