// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// fault lets n writes of a controller pass and then cuts it off for good:
// before the next one is sent, or after it was answered, so that the
// controller never learns that it happened.
type fault struct {
	http.RoundTripper
	after bool

	mu   sync.Mutex
	left int
	// hit is closed when the fault has struck.
	hit  chan struct{}
	last string
}

var errCut = errors.New("the network is gone")

func (f *fault) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	if f.struck() {
		f.mu.Unlock()
		return nil, errCut
	}
	write := req.Method != http.MethodGet && !strings.Contains(req.URL.Path, "/events")
	strikes := write && f.left == 0
	if write && f.left > 0 {
		f.left--
	}
	if strikes {
		f.last = req.Method + " " + resource(req.URL.Path)
		close(f.hit)
	}
	f.mu.Unlock()
	if strikes && !f.after {
		return nil, errCut
	}
	resp, err := f.RoundTripper.RoundTrip(req)
	if strikes {
		if err == nil {
			resp.Body.Close()
		}
		return nil, errCut
	}
	return resp, err
}

// resource is what a request's path is about, without the object's name.
func resource(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")[3:] // apis, group, version
	if parts[0] == "namespaces" {
		parts = parts[2:]
	}
	if len(parts) == 3 {
		return parts[0] + "/" + parts[2]
	}
	return parts[0]
}

// Peers take turns in being removed and joining again.
var turns = []string{"host2", "host3", "host4", "host5"}

// The controller is killed at every single write of a removal and of the
// grants that run beside it: one just before the write, and the next just
// after it. A third finishes the work.
func TestKilledAtEveryWrite(t *testing.T) {
	s := newStage(t)
	s.pool("default", "10.32.0.0/12", 20, 20)
	settled := runController(t, controllerOptions{config: quick()})
	for _, name := range append([]string{"host1"}, turns...) {
		s.add(name, script{})
		s.awaitOwned(name, 1)
		s.awaitReady(name)
	}
	settled.stop()
	writes := map[string]bool{}
	n := 0
	for s.removeUnderFire(turns[n%len(turns)], n, writes) && !t.Failed() {
		n++
	}
	t.Logf("killed before and after each of %d writes: %v", n, slices.Sorted(maps.Keys(writes)))
	if n < 12 {
		t.Errorf("only %d writes were seen", n)
	}
}

// cutOff is a controller that lets so many writes pass and is then cut off.
func (s *stage) cutOff(writes int, after bool) (*fault, *running) {
	f := &fault{after: after, left: writes, hit: make(chan struct{})}
	return f, runController(s.t, controllerOptions{config: quick(), wrap: func(rt http.RoundTripper) http.RoundTripper {
		f.RoundTripper = rt
		return f
	}})
}

// removeUnderFire removes a peer with heir host1 while one controller is cut
// off before its write number n, and the next after its first. It returns
// whether there was a write number n.
func (s *stage) removeUnderFire(victim string, n int, writes map[string]bool) bool {
	t := s.t
	t.Helper()
	s.join(victim)
	before := s.peer(victim)
	r := s.remove(victim, v1alpha1.PeerRemovalSpec{Heir: "host1"})
	hit := false
	for _, after := range []bool{false, true} {
		if after {
			n = 0
		}
		f, ctl := s.cutOff(n, after)
		await.Until(t, fmt.Sprintf("a fault at write %d, or the end", n), func() error {
			if f.struck() {
				return nil
			}
			return s.finished(victim)
		})
		ctl.stop()
		audit(t, s.admin)
		if f.struck() {
			hit = hit || !after
			writes[f.last] = true
		}
	}
	last := runController(t, controllerOptions{config: quick()})
	await.Until(t, fmt.Sprintf("the last controller to finish (%v)", writes), func() error { return s.finished(victim) })
	last.stop()
	if err := s.get(victim, r); err != nil || r.Status.Heir != "host1" || r.Status.Addresses != 4096 || r.Status.PeerUID != before.UID {
		t.Errorf("write %d: %+v %v", n, r.Status, err)
	}
	audit(t, s.admin)
	if err := s.admin.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return hit
}

// join lets a peer that was removed before join again.
func (s *stage) join(name string) {
	s.t.Helper()
	if ranges, _, err := s.owned(name); err == nil && len(ranges) == 1 && s.peer(name).Spec.Removal == nil {
		return
	}
	ctl := runController(s.t, controllerOptions{config: quick()})
	s.awaitOwned(name, 1)
	s.awaitReady(name)
	ctl.stop()
}

func (s *stage) finished(name string) error {
	var r v1alpha1.PeerRemoval
	if err := s.get(name, &r); err != nil || r.Status.Phase != v1alpha1.RemovalRemoved {
		return errors.New(s.explain(name))
	}
	return isGone(s.get(name, &v1alpha1.Peer{}))
}

func (f *fault) struck() bool {
	select {
	case <-f.hit:
		return true
	default:
		return false
	}
}
