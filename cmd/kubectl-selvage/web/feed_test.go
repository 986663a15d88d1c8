// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a Source that says what it is told to.
type source struct {
	mu    sync.Mutex
	state *inventory.State
	lost  error
	since time.Time
	heard time.Time
	reads int
	asked int
	deaf  bool
}

func newSource() *source { return &source{state: state(3, 4), heard: time.Now()} }

func (s *source) Read(context.Context) *inventory.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return s.state
}

func (s *source) Lost() (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, s.lost
}

func (s *source) Heard() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

func (s *source) Ask(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if !s.deaf {
		s.heard = time.Now()
	}
	return nil
}

func (s *source) set(change func(*source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// counts is how often it was read and asked.
func (s *source) counts() (reads, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads, s.asked
}

// within runs a feed in a bubble of virtual time, with one reader.
func within(t *testing.T, test func(t *testing.T, s *source, f *Feed, changed chan struct{})) {
	synctest.Test(t, func(t *testing.T) {
		s, changed := newSource(), make(chan struct{}, 1)
		f := NewFeed("here", s, changed, func(err error) string { return "so: " + err.Error() })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.Run(ctx)
		}()
		test(t, s, f, changed)
		cancel()
		<-done
	})
}

// pass lets time pass in a bubble, where it is virtual: it goes on as soon as
// everybody waits, and so nothing is raced.
func pass(d time.Duration) { <-time.After(d) }

// Nobody reads, nothing is drawn; changes are gathered, one edition a second.
func TestFeedGathers(t *testing.T) {
	within(t, func(t *testing.T, s *source, f *Feed, changed chan struct{}) {
		pass(time.Minute)
		if reads, _ := s.counts(); reads != 0 {
			t.Fatalf("nobody looks, and it was read %d times", reads)
		}
		leave := f.Join()
		synctest.Wait()
		first, _ := f.Current()
		if first == nil || !first.Pulse.Live {
			t.Fatalf("somebody looks, and there is %+v", first)
		}
		before, _ := s.counts()
		for range 1000 { // ten seconds of changes
			pass(10 * time.Millisecond)
			select {
			case changed <- struct{}{}:
			default:
			}
		}
		synctest.Wait()
		if reads, _ := s.counts(); reads-before < 9 || reads-before > 11 {
			t.Errorf("it was read %d times in ten seconds", reads-before)
		}
		leave()
		if e, _ := f.Current(); e != nil {
			t.Error("what grew old is kept for the next reader")
		}
	})
}

// Silence, and what is lost, is said with the beat, and ends when it ends; the
// document is not drawn anew for that.
func TestFeedTellsSilence(t *testing.T) {
	within(t, func(t *testing.T, s *source, f *Feed, changed chan struct{}) {
		defer f.Join()()
		pass(time.Minute)
		synctest.Wait()
		e, _ := f.Current()
		reads, asked := s.counts()
		if asked < 10 || !e.Pulse.Live {
			t.Fatalf("asked %d times in a minute; %+v", asked, e.Pulse)
		}
		if reads > 2 {
			t.Errorf("nothing changes, and it was read %d times", reads)
		}
		s.set(func(s *source) { s.deaf = true })
		heard := s.Heard()
		pass(silence + 2*beat)
		synctest.Wait()
		if e, _ := f.Current(); e.Pulse.Live || e.Pulse.Heard != heard.UnixMilli() || e.Pulse.Why == "" {
			t.Errorf("nothing is heard, and the page says %+v", e.Pulse)
		}
		s.set(func(s *source) { s.deaf, s.lost, s.since = false, errors.New("refused"), heard })
		changed <- struct{}{}
		pass(2 * time.Second)
		synctest.Wait()
		if e, _ := f.Current(); e.Pulse.Live || e.Pulse.Why != "so: refused" {
			t.Errorf("a watch is lost, and the page says %+v", e.Pulse)
		}
		s.set(func(s *source) { s.lost, s.heard = nil, time.Now() })
		changed <- struct{}{}
		pass(2 * time.Second)
		synctest.Wait()
		if e, _ := f.Current(); !e.Pulse.Live {
			t.Errorf("it is back, and the page says %+v", e.Pulse)
		}
	})
}
