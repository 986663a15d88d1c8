// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Clone is a copy of the whole world that shares nothing that changes.
func (w *World) Clone() *World {
	out := *w
	out.Store = w.Store.Clone()
	out.Hosts, out.Controllers = nil, nil
	for _, h := range w.Hosts {
		c := *h
		c.sent, c.own = slices.Clone(h.sent), slices.Clone(h.own)
		c.fenced, c.seen = maps.Clone(h.fenced), maps.Clone(h.seen)
		c.pods, c.heard, c.cut = maps.Clone(h.pods), maps.Clone(h.heard), maps.Clone(h.cut)
		out.Hosts = append(out.Hosts, &c)
	}
	for _, k := range w.Controllers {
		c := *k
		c.memory = k.memory.Clone()
		c.queue, c.wrote = slices.Clone(k.queue), slices.Clone(k.wrote)
		c.stopped = maps.Clone(k.stopped)
		out.Controllers = append(out.Controllers, &c)
	}
	out.Events = nil
	out.Violations = nil
	out.lies = maps.Clone(w.lies)
	return &out
}

// Action is one step that some party may take.
type Action struct {
	Name string
	// Do takes it, and reports whether there was anything to do.
	Do func(*World) bool
}

// Exploration is what looking at every order of actions has found.
type Exploration struct {
	States, Steps int
	// Closed: there are no states beyond the bound on depth; and all within it
	// were seen, if nothing broke.
	Closed bool
	// Depth is how many steps away the farthest state is that was seen.
	Depth int
	// Violations of the first broken state, and how to get there.
	Violations []ownership.Violation
	Trace      []string
}

// Explore takes the actions in every order, up to a depth, breadth first: the
// trace to what it finds is the shortest.
func Explore(start *World, actions []Action, depth int) Exploration {
	type node struct {
		w     *World
		from  int
		depth int
	}
	out := Exploration{Closed: true}
	var buffer []byte
	print, buffer := start.fingerprint(buffer)
	seen := map[fingerprint]bool{print: true}
	type link struct {
		from int
		by   string
	}
	links := []link{{-1, ""}}
	queue := []node{{w: start.Clone(), from: 0}}
	trace := func(from int, by string) (t []string) {
		t = []string{by}
		for at := from; links[at].from >= 0; at = links[at].from {
			t = append(t, links[at].by)
		}
		slices.Reverse(t)
		return t
	}
	out.States = 1
	for len(queue) > 0 {
		n := queue[0]
		queue[0] = node{}
		queue = queue[1:]
		out.Depth = max(out.Depth, n.depth)
		if n.depth == depth {
			out.Closed = false
			continue
		}
		for _, a := range actions {
			w := n.w.Clone()
			if !a.Do(w) {
				continue
			}
			w.CheckHolders()
			out.Steps++
			if len(w.Violations) > 0 {
				out.Violations, out.Trace, out.Closed = w.Violations, trace(n.from, a.Name), false
				return out
			}
			print, buffer = w.fingerprint(buffer)
			if seen[print] {
				continue
			}
			seen[print] = true
			out.States++
			links = append(links, link{n.from, a.Name})
			queue = append(queue, node{w: w, from: len(links) - 1, depth: n.depth + 1})
		}
	}
	return out
}

// Actions of a controller: a snapshot and a decision, the next write, a crash.
func Actions(controller int, crashes bool) []Action {
	name := "controller" + strconv.Itoa(controller+1)
	at := func(w *World) *Controller { return w.Controllers[controller] }
	out := []Action{
		{name + " decides", func(w *World) bool {
			c := at(w)
			if len(c.queue) > 0 {
				return false
			}
			for range 2 {
				for !w.Read(c) {
				}
				w.Decide(c)
				if len(c.last.ListPods) == 0 || c.view.PodsListed[c.last.ListPods[0]] {
					break
				}
			}
			return len(c.queue) > 0
		}},
		{name + " writes", func(w *World) bool {
			next, _ := w.Write(at(w))
			return next != nil
		}},
	}
	if crashes {
		out = append(out, Action{name + " crashes", func(w *World) bool {
			if len(at(w).queue) == 0 {
				return false
			}
			at(w).Crash()
			return true
		}})
	}
	return out
}

// Passes is a controller's whole pass as one step.
func Passes(controller int) Action {
	return Action{"controller" + strconv.Itoa(controller+1) + " passes", func(w *World) bool {
		return len(w.Pass(w.Controllers[controller])) > 0
	}}
}

// OnHost is an action of one host.
func OnHost(name, what string, do func(*World, *Host)) Action {
	return Action{name + " " + what, func(w *World) bool {
		do(w, w.Host(name))
		return true
	}}
}

// Passing is the passing of time.
func Passing(t time.Duration) Action {
	return Action{"tick " + t.String(), func(w *World) bool {
		w.Tick(t)
		return true
	}}
}
