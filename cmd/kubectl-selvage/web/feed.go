// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"sync"
	"time"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

const (
	// rest is the shortest time between two editions: a large cluster changes
	// all the time.
	rest = time.Second
	// beat is how often the API server is asked, where nothing is heard of it,
	// and the page told that we are here.
	beat = 5 * time.Second
	// silence is how long nothing may be heard until that is said.
	silence = 3 * beat
)

// Source is where a feed reads; a survey.Follower is one.
type Source interface {
	// Read is what there is now, as far as is known.
	Read(context.Context) *inventory.State
	// Lost says since when, and why, something is not heard of.
	Lost() (time.Time, error)
	// Heard is when the API server last answered.
	Heard() time.Time
	// Ask asks it for something small.
	Ask(context.Context) error
}

// Pulse says how current what is shown is, by the clock of this program.
type Pulse struct {
	Now  int64 `json:"now"`
	Live bool  `json:"live"`
	// Heard is when the API server last answered; Why says what is wrong.
	Heard int64  `json:"heard"`
	Why   string `json:"why"`
}

// Edition is a document, and how current it was.
type Edition struct {
	Document *Document
	Pulse    Pulse
}

// Feed makes editions for as long as somebody reads them.
type Feed struct {
	cluster string
	source  Source
	changed <-chan struct{}
	explain func(error) string
	keys    *Keys
	wake    chan struct{}

	mu      sync.Mutex
	readers int
	current *Edition
	next    chan struct{} // closed when there is another one
}

// NewFeed is a feed of what a source reads. It is told by changed when there is
// something new, and puts errors into words with explain.
func NewFeed(cluster string, source Source, changed <-chan struct{}, explain func(error) string) *Feed {
	return &Feed{
		cluster: cluster, source: source, changed: changed, explain: explain, keys: NewKeys(),
		wake: make(chan struct{}, 1), next: make(chan struct{}),
	}
}

// Run makes editions until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { f.ask(ctx) })
	ticks := time.NewTicker(beat)
	defer ticks.Stop()
	stale := true
	for {
		if f.read() {
			e := f.edition(ctx, stale)
			if ctx.Err() != nil {
				return // what was read of an ending cache is not shown
			}
			f.publish(e)
			stale = false
			if !wait(ctx, rest) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
			stale = true
		case <-f.wake:
			stale = true
		case <-ticks.C:
			// Chance decides between two that are ready.
			select {
			case <-f.changed:
				stale = true
			default:
			}
		}
	}
}

// ask keeps asking the API server, also while nobody reads: who comes then is
// told at once how it is.
func (f *Feed) ask(ctx context.Context) {
	for wait(ctx, beat) {
		within, cancel := context.WithTimeout(ctx, beat)
		_ = f.source.Ask(within) // the source notes what came of it
		cancel()
	}
}

// edition is a new one; the document is drawn anew if it is stale. Its pulse is
// that of a time before it was read.
func (f *Feed) edition(ctx context.Context, stale bool) *Edition {
	e := &Edition{Pulse: f.pulse()}
	last, _ := f.Current()
	if last != nil && !stale {
		e.Document = last.Document
		return e
	}
	e.Document = Compose(f.cluster, f.source.Read(ctx), f.keys, time.Now())
	return e
}

func (f *Feed) pulse() Pulse {
	now, heard := time.Now(), f.source.Heard()
	p := Pulse{Now: now.UnixMilli(), Live: true, Heard: heard.UnixMilli()}
	if since, err := f.source.Lost(); err != nil {
		p.Live, p.Heard, p.Why = false, since.UnixMilli(), f.explain(err)
	} else if now.Sub(heard) > silence {
		p.Live, p.Why = false, "nothing has been heard of the API server since"
	}
	return p
}

func (f *Feed) publish(e *Edition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == 0 {
		return // the last one has left meanwhile; the next one gets a new one
	}
	f.current = e
	close(f.next)
	f.next = make(chan struct{})
}

// Current is the last edition, or nil, and what is closed at the next one.
func (f *Feed) Current() (*Edition, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current, f.next
}

// Join says that somebody reads, until leave is called.
func (f *Feed) Join() (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	if f.readers == 1 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.readers--; f.readers == 0 {
			f.current = nil // nobody is shown what grew old meanwhile
		}
	}
}

func (f *Feed) read() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readers > 0
}

// wait waits, and says whether ctx goes on.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
