// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"strings"
	"testing"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// command is one of the agent's program that runs beside the test.
type command struct {
	s     *stage
	ended chan error
	out   string
}

func (s *stage) beside(m *machine, args ...string) *command {
	s.t.Helper()
	c := &command{s: s, ended: make(chan error, 1)}
	go func() {
		out, err := m.runAgent(s.t.Context(), append(append([]string{"reset"}, m.flags()...), args...)...)
		c.out = out
		c.ended <- err
	}()
	return c
}

// expect waits for the end, and for those words.
func (c *command) expect(succeeds bool, word string) {
	c.s.t.Helper()
	if err := <-c.ended; (err == nil) != succeeds || !strings.Contains(c.out, word) {
		c.s.t.Fatalf("it ended with %v, and said, without %q:\n%s", err, word, c.out)
	}
}

func (s *stage) awaitLeaving(m *machine, leaving bool) {
	s.t.Helper()
	s.awaitPeer(m.node, "the wish to leave, or to stay", func(p *v1alpha1.Peer) bool {
		return p.Status.Agent != nil && p.Status.Agent.Leaving == leaving
	})
}

// A reset that waits for a pod is cancelled: before the removal has begun, and
// when it has. The pod runs on, and others are started.
func TestReset_Cancelled(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, _ := s.join(a)
	x := a.awaitPod()
	for _, begun := range []bool{false, true} {
		leaves := s.beside(a)
		s.awaitLeaving(a, true)
		if begun {
			s.declare(a.node)
			a.awaitRow(membership.Suspended)
			if _, err := a.tryPod(); err == nil {
				t.Error("a pod was started on a node that leaves")
			}
		}
		cancels := s.beside(a, "--cancel")
		s.awaitLeaving(a, false)
		if begun {
			s.cancel(a.node) // the controller's answer to that
		}
		cancels.expect(true, "this node remains in the network")
		leaves.expect(false, "cancelled, by selvage-agent reset --cancel")
		a.awaitServing()
		a.newPod().del()
		if err := x.isUp(); err != nil {
			t.Error(err)
		}
		if now := s.peer(a.node); now.UID != before.UID || now.Status.Agent.Leaving || now.Spec.Removal != nil {
			t.Errorf("it is not as it was: %+v %+v", now.Spec, now.Status.Agent)
		}
	}
	// There is nothing to cancel: said again, it holds.
	s.beside(a, "--cancel").expect(true, "this node remains in the network")
	if out, err := a.runAgent(t.Context(), "reset", "--cancel", "--cut-off-pods"); err == nil || !strings.Contains(out, "cut-off-pods") {
		t.Errorf("cancelling and cutting off: %v: %s", err, out)
	}
}

// Past the point of no return it is too late, and reset comes to its end.
func TestReset_CancelledTooLate(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	leaves := s.beside(a)
	s.awaitLeaving(a, true)
	s.declare(a.node)
	gone := s.transfer(a.node)
	a.awaitRow(membership.Fenced)
	s.beside(a, "--cancel").expect(false, "past its point of no return")
	leaves.expect(false, "cancelled")
	leaves = s.beside(a)
	s.finish(gone, nil)
	s.must(s.erase(t.Context(), a.node))
	leaves.expect(true, "left the network")
	s.beside(a, "--cancel").expect(false, "too late: this node has left the network")
	a.stop()
	s.beside(a, "--cancel").expect(false, "no agent runs here")
}

// A removal that a person declared is not the agent's to cancel.
func TestReset_CancelledIsNotForeign(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	s.changePeer(a.node, false, func(p *v1alpha1.Peer) {
		p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: "some-removal"}
	})
	a.awaitRow(membership.Suspended)
	s.beside(a, "--cancel").expect(false, "kubectl selvage cancel")
}

// A reset without an agent is told too. Its pod's link goes meanwhile, without
// a DEL, and it does not mind.
func TestReset_CancelledAlone(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, _ := s.join(a)
	x, y := a.awaitPod(), a.newPod()
	a.stop()
	leaves := s.beside(a)
	s.awaitLeaving(a, true)
	s.declare(a.node)
	a.awaitRow(membership.Suspended)
	y.Close()
	cancels := s.beside(a, "--cancel")
	s.awaitLeaving(a, false)
	s.cancel(a.node)
	cancels.expect(true, "this node remains in the network")
	leaves.expect(false, "cancelled, by selvage-agent reset --cancel")
	a.start()
	a.awaitServing()
	if now := s.peer(a.node); now.UID != before.UID {
		t.Errorf("it is another incarnation: %s, was %s", now.UID, before.UID)
	}
	if err := x.isUp(); err != nil {
		t.Error(err)
	}
}
