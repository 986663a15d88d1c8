// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// remove takes the machine's Peer away, as the controller does in the end, when
// the agent has acknowledged it.
func (m *machine) remove(a *Agent) {
	m.Helper()
	if err := a.Store.Update(func(r *Record) { r.Acknowledged = 2 }); err != nil {
		m.Fatal(err)
	}
	p := m.peer()
	p.Finalizers = nil
	if err := m.api.Update(m.Context(), p); err != nil {
		m.Fatal(err)
	}
	if err := m.api.Delete(m.Context(), p); err != nil {
		m.Fatal(err)
	}
}

// attach starts a pod, and linked says whether it is not cut off.
func (m *machine) attach() {
	m.Helper()
	if _, err := m.kernel.Attach(datapath.AttachRequest{
		Network: "selvage", Sandbox: "s", IfName: "eth0", NetNS: "pod", Addresses: []netip.Addr{netip.MustParseAddr("10.32.0.9")},
	}); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) linked() bool {
	m.Helper()
	at, found, err := m.kernel.Lookup("selvage", "s", "eth0")
	if err != nil || !found {
		m.Fatalf("found: %t, %v", found, err)
	}
	return at.Up
}

func (m *machine) joined() bool {
	m.Helper()
	err := m.api.Get(m.Context(), client.ObjectKey{Name: "host1"}, &v1alpha1.Peer{})
	if client.IgnoreNotFound(err) != nil {
		m.Fatal(err)
	}
	return !apierrors.IsNotFound(err)
}

// TestJoinsAnewUnheard: a node that was removed joins anew when the kernel has
// forgotten what its pods sent before they were cut off, and not before; an
// agent that is started anew meanwhile begins to wait again.
func TestJoinsAnewUnheard(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		m := newMachine(t)
		a := m.agent(m.disk)
		m.rounds(a, 8)
		m.attach()
		m.remove(a)
		m.rounds(a, 8)
		if m.linked() {
			t.Fatalf("the pod is not cut off: %s", a.row)
		}
		if m.joined() {
			t.Fatal("joined at once")
		}
		m.clock.advance(datapath.Forgets - time.Millisecond)
		if restarted {
			if err := a.Store.Close(); err != nil {
				t.Fatal(err)
			}
			a = m.agent(m.disk)
		}
		m.rounds(a, 8)
		if m.joined() {
			t.Fatal("joined before the kernel has forgotten")
		}
		m.clock.advance(time.Millisecond)
		m.rounds(a, 8)
		if m.joined() == restarted {
			t.Fatalf("joined: %t, started anew: %t", m.joined(), restarted)
		}
		m.clock.advance(datapath.Forgets)
		m.rounds(a, 8)
		if !m.joined() {
			t.Fatal("never joined")
		}
	}
}

// TestContenderLooksFirst: that its own Peer is gone is believed of a LIST, and
// not of a cache, which may lack it.
func TestContenderLooksFirst(t *testing.T) {
	m := newMachine(t)
	a := m.agent(m.disk)
	m.rounds(a, 8)
	m.attach()
	other := m.peer()
	other.UID, other.Spec.InstanceID = "uid-of-another", "another"
	for _, consistent := range []bool{false, true} {
		s := &sight{View: View{Consistent: consistent, Peers: []v1alpha1.Peer{*other}}}
		_ = a.contend(t.Context(), s) // the API refuses what is said of a Peer that is not there
		if m.linked() == consistent {
			t.Errorf("consistent: %t, cut off: %t", consistent, !m.linked())
		}
	}
}

// TestAcknowledgesUnheard: a removal that cuts pods off is acknowledged when the
// kernel has forgotten what they sent; so is one for which an agent that was
// started anew found pods that were cut off before.
func TestAcknowledgesUnheard(t *testing.T) {
	for _, before := range []bool{false, true} {
		m := newMachine(t)
		a := m.agent(m.disk)
		m.rounds(a, 8)
		m.attach()
		if before { // as Adopt finds them
			m.clock.advance(datapath.Forgets)
			at, _, err := m.kernel.Lookup("selvage", "s", "eth0")
			if err != nil {
				t.Fatal(err)
			}
			if err := m.kernel.CutOff(at, true); err != nil {
				t.Fatal(err)
			}
			if err := a.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p := m.peer()
		p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonLeaving, CutOff: true}
		p.Status.Phase = v1alpha1.PhaseFencing
		s := &sight{View: View{Consistent: true, Peers: []v1alpha1.Peer{*p}}}
		acknowledged := func() bool {
			_ = a.suspend(t.Context(), s)
			return a.Store.Record().Acknowledged == p.Generation && a.Store.Record().Acknowledged != 0
		}
		p.Generation, s.Peers[0].Generation = 2, 2
		if acknowledged() {
			t.Errorf("cut off before: %t: acknowledged at once", before)
		}
		m.clock.advance(datapath.Forgets)
		if !acknowledged() {
			t.Errorf("cut off before: %t: never acknowledged: %+v", before, a.Store.Record())
		}
	}
}
