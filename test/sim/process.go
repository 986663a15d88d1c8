// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"time"
)

// machine is what processes run on.
type machine struct {
	w *World
	// frozen: suspended, or its hypervisor runs something else. What would
	// have happened to it happens when it goes on.
	frozen   bool
	deferred []event
	// rate is how fast its clocks go.
	rate float64
	// frozenAt is when it was frozen last, and naps when it was before.
	frozenAt time.Duration
	naps     []nap
}

// nap is a time for which a machine was suspended.
type nap struct{ from, to time.Duration }

// slept is how long it was suspended since then.
func (m *machine) slept(since time.Duration) (sum time.Duration) {
	for _, n := range m.naps {
		if n.from >= since {
			sum += time.Duration(float64(n.to-n.from) * m.rate)
		}
	}
	if m.frozen && m.frozenAt >= since {
		sum += time.Duration(float64(m.w.Now-m.frozenAt) * m.rate)
	}
	return sum
}

func (m *machine) freeze(d time.Duration) {
	if m.frozen {
		return
	}
	m.frozen, m.frozenAt = true, m.w.Now
	m.w.after(d, nil, m.thaw)
}

func (m *machine) thaw() {
	if !m.frozen {
		return
	}
	m.frozen = false
	m.naps = append(m.naps, nap{m.frozenAt, m.w.Now})
	for _, e := range m.deferred {
		m.w.after(0, e.process, e.do)
	}
	m.deferred = nil
}

// process is a run of a program. Its code runs as coroutines: they stop at each
// request, and go on when the answer is there, or never.
type process struct {
	w       *World
	name    string
	machine *machine
	link    *link
	dead    bool
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   map[*task]bool
	loops   []*looper
	random  *rand.Rand
	cache   *cache
	// began is when it was started: clocks count from there.
	began time.Duration
}

var errStopped = errors.New("the process has ended")

func (w *World) newProcess(name string, m *machine, l *link) *process {
	p := &process{w: w, name: name, machine: m, link: l, tasks: map[*task]bool{}, began: w.Now}
	p.random = l.random
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// kill ends it at once: wherever its code is, nothing that it does from here
// on has any effect.
func (p *process) kill() {
	if p.dead {
		return
	}
	p.dead = true
	p.cancel()
	for t := range p.tasks {
		t.stop()
	}
	p.w.checks.forget(p)
}

// elapsed is its clock, which goes on while the machine is suspended.
func (p *process) elapsed() time.Duration {
	return time.Duration(float64(p.w.Now-p.began) * p.machine.rate)
}

// later is how long its clock takes to show that much more.
func (p *process) later(d time.Duration) time.Duration {
	return time.Duration(float64(d) / p.machine.rate)
}

// jitter is a random time below d.
func (p *process) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(p.random.Int64N(int64(d)))
}

// task is a coroutine.
type task struct {
	p     *process
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool

	// call numbers the requests; answers to former ones are too late.
	call   int
	answer any
	err    error
}

// spawn makes a task that has not begun.
func (p *process) spawn(body func(t *task)) *task {
	t := &task{p: p}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		body(t)
	})
	p.tasks[t] = true
	return t
}

// resume lets a task go on until it waits again.
func (t *task) resume() {
	was := t.p.w.current
	t.p.w.current = t
	if _, more := t.next(); !more {
		delete(t.p.tasks, t)
	}
	t.p.w.current = was
}

// wait lets others go on. It reports whether this one still may.
func (t *task) wait() bool { return !t.p.dead && t.yield(struct{}{}) && !t.p.dead }

// sleep waits for that long on the process's clock.
func (t *task) sleep(d time.Duration) bool {
	if t.p.dead {
		return false
	}
	t.p.w.after(t.p.later(d), t.p, t.resume)
	return t.wait()
}

// looper steps a loop: when its time has come, or when there is news.
type looper struct {
	p      *process
	task   *task
	step   func(context.Context) time.Duration
	news   <-chan struct{}
	settle time.Duration

	idle bool
	pass time.Duration
	// turn invalidates what was planned before.
	turn int
	// due: there was news, and the settling time runs.
	due bool
	// changed, for a loop that polls, reports whether what it polls may have
	// changed since it was asked last. Rounds that would do nothing are left
	// out.
	changed func() bool
}

// loop adds a loop to the process.
func (p *process) loop(step func(context.Context) time.Duration, first time.Duration, news <-chan struct{}, settle time.Duration) *looper {
	l := &looper{p: p, step: step, news: news, settle: settle, idle: true}
	l.task = p.spawn(func(t *task) {
		for !p.dead {
			l.pass = l.step(p.ctx)
			l.idle = true
			if !t.wait() {
				return
			}
		}
	})
	p.loops = append(p.loops, l)
	l.plan(first)
	return l
}

func (l *looper) plan(d time.Duration) {
	l.turn++
	turn := l.turn
	l.p.w.after(l.p.later(d), l.p, func() {
		if l.turn == turn && l.idle {
			l.goRound()
		}
	})
}

func (l *looper) goRound() {
	l.idle, l.due = false, false
	l.task.resume()
}

// poll plans what comes next for each loop that has come to rest, and wakes
// those that have news.
func (p *process) poll() {
	if p.dead {
		return
	}
	for _, l := range p.loops {
		if !l.idle {
			continue
		}
		if l.changed != nil {
			if l.changed() {
				l.plan(max(l.pass, time.Millisecond))
			}
			continue
		}
		if l.pass >= 0 {
			l.plan(max(l.pass, time.Millisecond))
			l.pass = -1
		}
		if l.due || l.news == nil {
			continue
		}
		select {
		case <-l.news:
			l.due = true
			l.plan(l.settle)
		default:
		}
	}
}
