// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// Controller is a machine on which a controller runs: the real loop, woken by
// the real rules.
type Controller struct {
	machine
	name    string
	process *process
	link    *link
	looper  *looper
	loop    *controllers.Loop
	// due is when it is to look; failed counts errors in a row.
	due    time.Duration
	failed int
	runs   int
	// acts: it leads, or has not noticed that it does not any more.
	acts bool
}

func (w *World) addController(name string) {
	c := &Controller{name: name, link: w.newLink(name)}
	c.machine = machine{w: w, rate: rate(w.random("rate " + name))}
	w.Controllers = append(w.Controllers, c)
	c.start()
}

var watchedByControllers = map[*apiserver.Kind]func(client.Object) bool{
	apiserver.Pools: all, apiserver.Peers: all, apiserver.Ranges: all, apiserver.Removals: all,
	apiserver.Leases: all, apiserver.Nodes: all, apiserver.Pods: all,
}

// start starts a run, which knows nothing of the last one.
func (c *Controller) start() {
	if c.process != nil && !c.process.dead {
		return
	}
	w := c.machine.w
	c.runs++
	p := w.newProcess(c.name, &c.machine, c.link)
	p.ctx = logr.NewContext(p.ctx, logr.Discard())
	c.process, c.due, c.failed, c.acts, c.looper = p, -1, 0, false, nil
	api := &apiClient{p: p}
	config := w.Config
	config.Seed = c.link.random.Uint64()
	if w.Elect {
		config.Term = c.term()
	}
	loop := &controllers.Loop{
		Reader:    &controllers.Reader{Direct: api, Namespace: Namespace},
		Applier:   &controllers.Applier{Client: api, Namespace: Namespace, LeaseDuration: w.Lease, Now: w.wall},
		Announcer: &controllers.Announcer{Recorder: &record.FakeRecorder{}},
		Metrics:   controllers.NewMetrics(prometheus.NewRegistry()),
		Config:    config,
		Clock:     p.elapsed,
		Jitter:    p.jitter,
	}
	c.loop = loop
	cache := p.watch(watchedByControllers, func(before, after client.Object) { c.wake(before, after) })
	loop.Reader.Cached = cachedReader{c: cache}
	if w.Mutation == TrustCaches {
		loop.Reader.Direct = &everything{apiClient: api}
	}
	p.loop(c.step, 0, nil, 0)
	c.looper = p.loops[0]
	if w.Elect {
		p.loop(c.elect, 0, nil, 0)
	}
}

// wake has it look once a change may not wait any longer.
func (c *Controller) wake(before, after client.Object) {
	is := after
	if is == nil {
		if is, before = before, nil; is == nil {
			c.look(0)
			return
		}
	}
	if d := c.loop.Delay(before, is); d >= 0 {
		c.look(d)
	}
}

func (c *Controller) look(d time.Duration) {
	at := c.process.elapsed() + d
	if c.due >= 0 && c.due <= at {
		return
	}
	c.due = at
	if c.looper != nil && c.looper.idle {
		c.looper.plan(d)
	}
}

// step makes a pass, and says when the next is due.
func (c *Controller) step(ctx context.Context) time.Duration {
	p := c.process
	const never = 24 * time.Hour
	if !p.cache.complete || (p.w.Elect && !c.acts) {
		return time.Second
	}
	c.due = -1
	result, err := c.loop.Reconcile(ctx, reconcile.Request{})
	if err != nil {
		c.machine.w.note("%s: %v", c.name, err)
		if errors.Is(err, controllers.ErrRegressed) {
			c.exit()
			return never
		}
		c.look(min(15*time.Second, 100*time.Millisecond<<min(c.failed, 8)))
		c.failed++
	} else {
		c.failed = 0
		if result.RequeueAfter > 0 {
			c.look(result.RequeueAfter)
		}
	}
	if c.due < 0 {
		return never
	}
	return max(0, c.due-p.elapsed())
}

// exit ends the run, as its program does, and has it started anew.
func (c *Controller) exit() {
	w := c.machine.w
	w.after(0, nil, func() {
		c.kill()
		w.after(3*time.Second, nil, c.start)
	})
}

func (c *Controller) kill() {
	if c.process != nil {
		c.process.kill()
	}
}

// term is the identity of this run as a leader.
func (c *Controller) term() string {
	return c.name + "_" + string(rune('a'+c.runs%26)) + time.Duration(c.runs).String()
}

const electionPeriod = 15 * time.Second

// elect is the leader election, as far as it matters: somebody leads most of
// the time, and who does not any more goes on for a while.
func (c *Controller) elect(ctx context.Context) time.Duration {
	w, api := c.machine.w, &apiClient{p: c.process}
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: Namespace, Name: v1alpha1.LeaderLease}
	now := metav1.NewMicroTime(w.wall())
	err := api.Get(ctx, key, lease)
	if err != nil {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	vacant := lease.Spec.RenewTime == nil || w.wall().Sub(lease.Spec.RenewTime.Time) > electionPeriod
	if holder != c.term() && !vacant {
		if c.acts {
			// Deposed: some go on acting for longer than they should.
			c.acts = c.process.random.IntN(4) > 0
		}
		return 5 * time.Second
	}
	mine := c.term()
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &mine, &now
	if lease.ResourceVersion == "" {
		err = api.Create(ctx, lease)
	} else {
		err = api.Update(ctx, lease)
	}
	if err == nil {
		c.acts = true
	}
	return 5 * time.Second
}

// everything reads from the watches what is to be read consistently.
type everything struct{ *apiClient }

// List is client.Reader.List.
func (e *everything) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	c := e.p.cache
	if _, pods := list.(*corev1.PodList); pods || c == nil || !c.complete {
		return e.apiClient.List(ctx, list, opts...)
	}
	return cachedReader{c: c}.List(ctx, list, opts...)
}
