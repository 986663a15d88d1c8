// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-net/selvage/api/v1alpha1"
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
	select {
	case <-f.hit:
		f.mu.Unlock()
		return nil, errCut
	default:
	}
	write := req.Method != http.MethodGet && !strings.Contains(req.URL.Path, "/events")
	strikes := write && f.left == 0
	if write && f.left > 0 {
		f.left--
	}
	if strikes {
		f.last = req.Method + " " + req.URL.Path
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

// The controller is killed at every single write of a removal and of the
// grants that follow it; another one finishes the work.
func TestKilledAtEveryWrite(t *testing.T) {
	s := newStage(t)
	s.pool("default", "10.32.0.0/12", 20, 20)
	for _, name := range []string{"host1", "host2", "host3"} {
		s.add(name, script{})
	}
	s.settle()
	struck := 0
	for n := 0; ; n++ {
		hit := false
		for _, after := range []bool{false, true} {
			hit = s.removeUnderFire(n, after) || hit
			if t.Failed() {
				return
			}
		}
		if !hit {
			break
		}
		struck++
	}
	t.Logf("killed at each of %d writes, before and after it", struck)
	if struck < 8 {
		t.Errorf("only %d writes were seen", struck)
	}
}

// settle lets a controller do all there is to do.
func (s *stage) settle() {
	s.t.Helper()
	ctl := runController(s.t, controllerOptions{config: quick()})
	for _, name := range []string{"host1", "host2", "host3"} {
		s.awaitOwned(name, 1)
		s.awaitReady(name)
	}
	ctl.stop()
}

// removeUnderFire removes host3 with heir host1 and lets it join again, while
// the first controller is cut off at its write number n. It returns whether
// it came to that.
func (s *stage) removeUnderFire(n int, after bool) bool {
	t := s.t
	t.Helper()
	f := &fault{after: after, left: n, hit: make(chan struct{})}
	first := runController(t, controllerOptions{config: quick(), wrap: func(rt http.RoundTripper) http.RoundTripper {
		f.RoundTripper = rt
		return f
	}})
	before := s.peer("host3")
	r := s.remove("host3", v1alpha1.PeerRemovalSpec{Heir: "host1"})
	finished := func() error {
		var got v1alpha1.PeerRemoval
		if err := s.get("host3", &got); err != nil || got.Status.Phase != v1alpha1.RemovalRemoved {
			return errors.New(s.explain("host3"))
		}
		return isGone(s.get("host3", &v1alpha1.Peer{}))
	}
	eventually(t, fmt.Sprintf("the fault (write %d, after: %t) or the end", n, after), func() error {
		select {
		case <-f.hit:
			return nil
		default:
			return finished()
		}
	})
	first.stop()
	audit(t, s.admin)
	second := runController(t, controllerOptions{config: quick()})
	eventually(t, fmt.Sprintf("the second controller to finish after %s (write %d, after: %t)", f.last, n, after), finished)
	if err := s.get("host3", r); err != nil || r.Status.Heir != "host1" || r.Status.Addresses != 4096 || r.Status.PeerUID != before.UID {
		t.Errorf("killed at %s (write %d, after: %t): %+v %v", f.last, n, after, r.Status, err)
	}
	// The node joins anew.
	if err := s.admin.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.awaitOwned("host3", 1)
	s.awaitReady("host3")
	audit(t, s.admin)
	second.stop()
	select {
	case <-f.hit:
		return true
	default:
		return false
	}
}
