// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// reset runs the command, with the controller's part played beside it, and
// returns what it printed.
func (s *stage) reset(m *machine, heir *v1alpha1.Peer, more ...string) string {
	s.t.Helper()
	type end struct {
		out string
		err error
	}
	ended := make(chan end, 1)
	before := s.peer(m.node)
	go func() {
		out, err := m.runAgent(s.t.Context(), append([]string{"reset"}, append(m.flags(), more...)...)...)
		ended <- end{out, err}
	}()
	s.awaitPeer(m.node, "the wish to leave", func(p *v1alpha1.Peer) bool { return p.Status.Agent != nil && p.Status.Agent.Leaving })
	s.declare(m.node)
	s.awaitPeer(m.node, "an acknowledgement", func(p *v1alpha1.Peer) bool { return p.Status.Agent.Fenced != nil })
	gone := s.transfer(m.node)
	select {
	case e := <-ended:
		s.t.Fatalf("reset ended before the ranges had moved: %v: %s", e.err, e.out)
	default:
	}
	s.finish(gone, heir)
	s.must(s.erase(s.t.Context(), m.node))
	e := <-ended
	if e.err != nil {
		s.t.Fatalf("reset: %v: %s", e.err, e.out)
	}
	if _, err := os.Stat(filepath.Join(m.disk, "identity")); err == nil {
		s.t.Errorf("the identity of %s is still on disk", before.UID)
	}
	if links := m.links(); strings.Contains(links, "selvage0") {
		s.t.Errorf("the tunnel device is still there:\n%s", links)
	}
	return e.out
}

// Leaving for good with the agent that runs, and starting from scratch later.
func TestReset_WithAgent(t *testing.T) {
	s := newStage(t)
	a, b := newMachine(t), newMachine(t)
	before, r := s.join(a)
	heir, _ := s.join(b)
	x := a.awaitPod()
	runtime := a.serveRuntime(x)
	out := s.reset(a, heir, "--cut-off-pods")
	runtime.awaitStopped(t, 0) // or the kubelet would never make it anew
	if !strings.Contains(out, "left the network") {
		t.Errorf("it said:\n%s", out)
	}
	b.awaitOwns(s, r)
	await.Until(t, "the pod to be cut off", x.isCutOff)
	if err := a.status(); err == nil {
		t.Error("STATUS succeeds on a node that has left")
	}
	a.stop()
	a.start()
	after := s.admit(a)
	if after.UID == before.UID || after.Spec.InstanceID == before.Spec.InstanceID {
		t.Errorf("not from scratch: %s/%s", after.UID, after.Spec.InstanceID)
	}
}

// Leaving for good without an agent. Pods hold it up until they are gone.
func TestReset_Alone(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	_, r := s.join(a)
	a.stop()
	out := s.reset(a, nil)
	if !strings.Contains(out, "left the network") {
		t.Errorf("it said:\n%s", out)
	}
	if owner := s.rangeNow(r).Spec.Owner; owner != nil {
		t.Errorf("it left while it owned %s", r.Name)
	}
	// Nothing is left to be reset: done at once.
	if out, err := a.runAgent(t.Context(), append([]string{"reset"}, a.flags()...)...); err != nil {
		t.Errorf("a second reset: %v: %s", err, out)
	}
	a.start()
	a.awaitRow(membership.Resume)
}
