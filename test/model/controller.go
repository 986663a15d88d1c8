// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Controller is one of any number of controllers: what it has read may be old,
// what it writes may be late, and it may crash between any two steps.
type Controller struct {
	Name   string
	Config ownership.Config
	// Rate is how fast its clock runs.
	Rate float64

	memory  *ownership.Memory
	reading int // how many of Lists have been read
	view    ownership.Snapshot
	pods    []string // nodes whose pods to list
	queue   []ownership.Write
	stopped map[string]bool
	last    ownership.Decision
	wrote   []int
	events  []ownership.Event
}

// NewController is one that has just started.
func NewController(name string, cfg ownership.Config) *Controller {
	return &Controller{Name: name, Config: cfg, Rate: 1, memory: ownership.NewMemory()}
}

// Crash forgets everything that is not durable.
func (c *Controller) Crash() {
	*c = Controller{Name: c.Name, Config: c.Config, Rate: c.Rate, memory: ownership.NewMemory()}
}

// Decision is its last one.
func (c *Controller) Decision() ownership.Decision { return c.last }

// Pending is how many writes it has decided on and not made.
func (c *Controller) Pending() int { return len(c.queue) }

func (w *World) controllerClock(c *Controller) time.Duration {
	return time.Duration(float64(w.Now)*c.Rate) + time.Hour
}

// Read makes the next LIST of a snapshot. It returns true when it has all.
func (w *World) Read(c *Controller) bool {
	if c.reading == 0 {
		c.view = ownership.Snapshot{Consistent: true, PodsListed: map[string]bool{}}
		for _, name := range c.pods {
			c.view.PodsListed[name] = true
		}
	}
	if c.reading < len(Lists) {
		w.Store.List(Lists[c.reading], &c.view)
		c.reading++
	}
	return c.reading == len(Lists)
}

// Decide decides on what was read.
func (w *World) Decide(c *Controller) {
	if c.reading < len(Lists) {
		return
	}
	c.reading = 0
	now := w.controllerClock(c)
	c.memory.Observe(&c.view, now)
	d := ownership.Decide(&c.view, c.memory, now, c.Config)
	c.pods = d.ListPods
	c.last = d
	c.queue = append(slices.Clone(d.Writes), mirror(&c.view)...)
	c.events, c.wrote, c.stopped = d.Events, nil, map[string]bool{}
}

// mirror is the controller's report on PeerRemovals: which are done.
func mirror(s *ownership.Snapshot) (out []ownership.Write) {
	peers := map[string]*ownership.Peer{}
	for i := range s.Peers {
		peers[s.Peers[i].Name] = &s.Peers[i]
	}
	for _, d := range s.Removals {
		if d.Done {
			continue
		}
		p := peers[d.Name]
		switch {
		case p == nil, d.InstanceID != "" && d.InstanceID != p.InstanceID:
			out = append(out, finish{d, d.PeerUID})
		case p.Removal != nil && p.Removal.RemovalUID == d.UID && p.Phase == ownership.Removed:
			out = append(out, finish{d, p.UID})
		}
	}
	return out
}

// Write makes the next write that was decided on, and says what became of it.
func (w *World) Write(c *Controller) (ownership.Write, error) {
	if len(c.queue) == 0 {
		return nil, nil
	}
	n := len(c.wrote)
	next := c.queue[0]
	c.queue = c.queue[1:]
	c.wrote = append(c.wrote, n)
	if c.stopped[next.Subject()] {
		return next, ErrConflict
	}
	before := w.Store.Snapshot()
	err := w.Store.Apply(next)
	if err != nil {
		c.stopped[next.Subject()] = true
		return next, err
	}
	w.changed(&before, next)
	for _, e := range c.events {
		if e.After == n {
			w.Events = append(w.Events, e)
		}
	}
	return next, nil
}

// Pass is a whole pass, undisturbed: read, decide, list pods if asked, write.
// It returns the writes that succeeded.
func (w *World) Pass(c *Controller) (done []ownership.Write) {
	for range 3 {
		for !w.Read(c) {
		}
		w.Decide(c)
		if len(c.last.ListPods) == 0 || c.view.PodsListed[c.last.ListPods[0]] {
			break
		}
	}
	for len(c.queue) > 0 {
		next, err := w.Write(c)
		if err == nil {
			done = append(done, next)
		} else if w.OnRefusal != nil {
			w.OnRefusal(c, next, err)
		}
	}
	return done
}
