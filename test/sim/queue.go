// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import "time"

// event is something that happens at a time; of two at the same time, the one
// that was planned first.
type event struct {
	at      time.Duration
	order   uint64
	process *process
	do      func()
}

func (e *event) before(o *event) bool {
	return e.at < o.at || (e.at == o.at && e.order < o.order)
}

// queue is a binary heap. It is here, and not container/heap, for the latter's
// cost in a loop that does little else.
type queue struct {
	events []event
	orders uint64
}

func (q *queue) empty() bool         { return len(q.events) == 0 }
func (q *queue) next() time.Duration { return q.events[0].at }

func (q *queue) push(e event) {
	q.orders++
	e.order = q.orders
	q.events = append(q.events, e)
	i := len(q.events) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !q.events[i].before(&q.events[parent]) {
			break
		}
		q.events[i], q.events[parent] = q.events[parent], q.events[i]
		i = parent
	}
}

func (q *queue) pop() event {
	first := q.events[0]
	last := len(q.events) - 1
	q.events[0] = q.events[last]
	q.events[last] = event{}
	q.events = q.events[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if q.events[child].before(&q.events[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		q.events[i], q.events[least] = q.events[least], q.events[i]
		i = least
	}
}
