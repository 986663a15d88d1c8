// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/selvage-net/selvage/node-agent/datapath"
)

// bubbleClock is the time of a synctest bubble.
type bubbleClock struct{ began time.Time }

func (c bubbleClock) Now() time.Duration { return time.Since(c.began) + time.Hour }

// pass lets the bubble's time pass, which takes none.
func pass(d time.Duration) { <-time.After(d) }

// evictTest is an agent's eviction alone: interfaces that are there, and a
// runtime that does as it is told.
type evictTest struct {
	Kernel
	*testing.T
	agent *Agent

	mu    sync.Mutex
	there []string
	calls []string // sandbox@seconds
	most  int      // calls at the same time
	now   int
	stop  func(ctx context.Context, id string) error
	began time.Time
}

func (e *evictTest) Dump() (out []datapath.Attachment, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range e.there {
		out = append(out, datapath.Attachment{Sandbox: id})
	}
	return out, nil
}

func (e *evictTest) Stop(ctx context.Context, id string) error {
	e.mu.Lock()
	e.calls = append(e.calls, id+"@"+time.Since(e.began).Round(time.Second).String())
	e.now++
	e.most = max(e.most, e.now)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.now--
		e.mu.Unlock()
	}()
	return e.stop(ctx, id)
}

func (e *evictTest) end(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.there = slices.DeleteFunc(e.there, func(s string) bool { return s == id })
}

func (e *evictTest) asked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

// events are those on the Node.
func (e *evictTest) events() (out []string) {
	e.Helper()
	var list corev1.EventList
	if err := e.agent.Client.List(e.Context(), &list); err != nil {
		e.Fatal(err)
	}
	for _, ev := range list.Items {
		if ev.InvolvedObject.Kind != "Node" || ev.InvolvedObject.Name != "host1" || ev.InvolvedObject.UID != "node-uid" {
			e.Errorf("an Event about %+v", ev.InvolvedObject)
		}
		out = append(out, ev.Type+" "+ev.Reason+" "+ev.Message)
	}
	slices.Sort(out)
	return out
}

// evicting runs the eviction, in a bubble, with those interfaces.
func evicting(t *testing.T, stop func(e *evictTest, ctx context.Context, id string) error, play func(*evictTest), there ...string) {
	synctest.Test(t, func(t *testing.T) {
		e := &evictTest{T: t, there: there, began: time.Now()}
		e.stop = func(ctx context.Context, id string) error { return stop(e, ctx, id) }
		metrics, err := NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		e.agent = &Agent{
			Config: Config{
				Name: "host1", Kernel: e, Sandboxes: e, Clock: bubbleClock{e.began}, Metrics: metrics, Log: slog.New(slog.DiscardHandler),
				Client: fake.NewClientBuilder().Build(),
			},
			evictions: newEvictions(), kicked: make(chan struct{}, 1),
		}
		e.agent.nodeID.Store("node-uid")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		loops := e.agent.Loops()
		go func() { loops[len(loops)-1].run(ctx); close(ended) }()
		play(e)
		cancel()
		<-ended
	})
}

func TestEvictsOnceAndSaysSo(t *testing.T) {
	evicting(t, func(e *evictTest, _ context.Context, id string) error {
		e.end(id)
		return nil
	}, func(e *evictTest) {
		for range 3 { // each round of the loop says it again
			e.agent.evictions.add("a", "default/web")
			e.agent.evictions.add("b", "default/db")
		}
		pass(5 * time.Minute)
		if got := e.asked(); !slices.Equal(got, []string{"a@0s", "b@0s"}) && !slices.Equal(got, []string{"b@0s", "a@0s"}) {
			t.Errorf("asked %v", got)
		}
		if n := e.agent.evictions.untried(); n != 0 || len(e.agent.evictions.waiting) != 0 {
			t.Errorf("%d untried, %v", n, e.agent.evictions.waiting)
		}
		all := strings.Join(e.events(), "\n")
		if strings.Contains(all, reasonNotStopped) || !strings.Contains(all, "default/web") || !strings.Contains(all, "default/db") {
			t.Errorf("Events:\n%s", all)
		}
		if n := testutil.ToFloat64(e.agent.Metrics.stops.WithLabelValues("stopped")); n != 2 {
			t.Errorf("%v stopped", n)
		}
	}, "a", "b", "other")
}

// A runtime that fails is asked again, ever more rarely, and people are told
// once; when it answers again it is done.
func TestEvictionBacksOff(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	evicting(t, func(e *evictTest, _ context.Context, id string) error {
		if broken.Load() {
			return errors.New("no socket")
		}
		e.end(id)
		return nil
	}, func(e *evictTest) {
		e.agent.evictions.add("a", "default/web")
		pass(10 * time.Minute)
		synctest.Wait()
		want := []string{"a@0s", "a@1s", "a@3s", "a@7s", "a@15s", "a@31s", "a@1m3s", "a@2m7s", "a@4m7s", "a@6m7s", "a@8m7s"}
		if got := e.asked(); !slices.Equal(got, want) {
			t.Errorf("asked %v", got)
		}
		if got := e.events(); len(got) != 1 || !strings.HasPrefix(got[0], "Warning StalePodsNotStopped not stopped (no socket)") || !strings.Contains(got[0], "no socket") {
			t.Errorf("Events: %q", got)
		}
		broken.Store(false)
		pass(5 * time.Minute)
		if len(e.agent.evictions.waiting) != 0 || len(e.events()) != 2 {
			t.Errorf("left %v, Events %q", e.agent.evictions.waiting, e.events())
		}
	}, "a")
}

// A runtime that hangs is not waited for, and not flooded.
func TestEvictionOfASlowRuntime(t *testing.T) {
	ids := strings.Fields("a b c d e f g h i j")
	evicting(t, func(_ *evictTest, ctx context.Context, _ string) error {
		<-ctx.Done()
		return ctx.Err()
	}, func(e *evictTest) {
		for _, id := range ids {
			e.agent.evictions.add(id, "default/"+id)
		}
		pass(stopTimeout*3 + time.Second)
		synctest.Wait()
		if e.most != stopsAtOnce || len(e.asked()) < len(ids) {
			t.Errorf("%d at once, %d calls", e.most, len(e.asked()))
		}
		all := strings.Join(e.events(), "\n")
		if !strings.Contains(all, "did not answer within 30s") {
			t.Errorf("Events: %s", all)
		}
	}, ids...)
}

// One that is to live on is not stopped; one whose interface has gone is asked
// to end once all the same: only the runtime knows whether it has.
func TestEvictionDropped(t *testing.T) {
	evicting(t, func(*evictTest, context.Context, string) error { return errors.New("no") }, func(e *evictTest) {
		e.agent.evictions.add("a", "default/web")
		e.agent.evictions.add("gone", "default/gone")
		pass(2 * time.Second)
		e.agent.evictions.drop("a")
		before := len(e.asked())
		pass(10 * time.Minute)
		synctest.Wait()
		if got := e.asked(); len(got) != before || !slices.Contains(got, "gone@0s") {
			t.Errorf("asked %v", got)
		}
	}, "a")
}
