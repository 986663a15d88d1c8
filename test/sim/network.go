// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// link is the way from a process to the API server and back.
type link struct {
	random *rand.Rand
	// noRequests, noReplies: cut in that direction.
	noRequests, noReplies bool
	// losses is how many messages of a hundred are lost.
	losses int
	// late is how many writes of a hundred arrive up to minutes later.
	late int
	// slow: requests take seconds.
	slow bool
}

func (w *World) newLink(name string) *link { return &link{random: w.random("link " + name)} }

func (l *link) latency() time.Duration {
	return 500*time.Microsecond + time.Duration(l.random.Int64N(int64(5*time.Millisecond)))
}

func (l *link) lost() bool { return l.losses > 0 && l.random.IntN(100) < l.losses }

// patience is how long a client waits for an answer.
const patience = 10 * time.Second

var errRefused = errors.New("connect: connection refused")

// request sends a request and waits for what comes of it. The outcome of one
// that fails may be unknown: it may happen later, even after its sender's end.
func (p *process) request(write bool, do func(*apiserver.Server) (any, error)) (any, error) {
	if p.dead {
		return nil, errStopped
	}
	t := p.w.current
	p.w.send(t, write, do)
	if !t.wait() {
		return nil, errStopped
	}
	return t.answer, t.err
}

func (w *World) send(t *task, write bool, do func(*apiserver.Server) (any, error)) {
	p := t.p
	t.call++
	call := t.call
	answer := func(o any, err error) func() {
		return func() {
			if t.call != call {
				return // too late
			}
			t.call++
			t.answer, t.err = o, err
			t.resume()
		}
	}
	w.after(p.later(patience), p, answer(nil, fmt.Errorf("no answer within %s: %w", patience, context.DeadlineExceeded)))
	l := p.link
	travel := l.latency()
	if l.slow {
		travel += time.Duration(l.random.Int64N(int64(patience / 2)))
	}
	if l.late > 0 && write && l.random.IntN(100) < l.late {
		travel = time.Duration(l.random.Int64N(int64(4 * time.Minute)))
	}
	if l.lost() {
		return
	}
	left := w.Now
	w.after(travel, nil, func() {
		if l.noRequests && w.Now-left < time.Second {
			return
		}
		if w.down {
			w.after(l.latency(), p, answer(nil, errRefused))
			return
		}
		o, err := do(w.Server)
		if write && w.murky && l.random.IntN(3) == 0 {
			o, err = nil, apierrors.NewInternalError(errors.New("etcdserver: request timed out"))
		}
		if !l.noReplies && !l.lost() {
			w.after(l.latency(), p, answer(o, err))
		}
	})
}
