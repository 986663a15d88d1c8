// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// The rows of the start-up table, one test each.

// Stopped, or killed, and started again: same ranges, same addresses, nothing
// interrupted.
func TestStartup_Resume(t *testing.T) {
	s, a, b, x, y := talking(t)
	before := s.peer(a.node)
	pings, err := x.StartPing(y.addr, pingEvery)
	s.must(err)
	for _, end := range []func(){a.stop, a.kill, b.kill, b.stop} {
		end()
		if a.process.Running() {
			b.start()
		} else {
			a.start()
		}
		a.awaitServing()
		b.awaitServing()
	}
	if counts := pings.Stop(await.Limit); counts.Lost() != 0 {
		t.Errorf("%d of %d packets were lost", counts.Lost(), counts.Sent)
	}
	if after := s.peer(a.node); after.UID != before.UID || after.Spec.InstanceID != before.Spec.InstanceID {
		t.Errorf("it is another incarnation: %s/%s, was %s/%s", after.UID, after.Spec.InstanceID, before.UID, before.Spec.InstanceID)
	}
	if again, err := x.add(); err != nil || again != x.addr {
		t.Errorf("a repeated ADD gave %s (%v), not %s", again, err, x.addr)
	}
	if other := a.newPod(); other.addr == x.addr {
		t.Errorf("%s was given twice", x.addr)
	}
}

// A removal that can still be cancelled: no ADD, pods run; acknowledged once no
// pod is left; a cancel undoes it.
func TestStartup_Suspended(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	x := a.awaitPod()
	a.kill()
	removed := s.declare(a.node)
	a.start()
	a.awaitRow(membership.Suspended, x.id, "drain")
	if _, err := a.tryPod(); err == nil || !strings.Contains(err.Error(), "being removed") {
		t.Errorf("ADD during a removal: %v", err)
	}
	s.must(x.isUp())
	if err := a.status(); err != nil {
		t.Errorf("STATUS takes the node down: %v", err)
	}
	if agent := s.peer(a.node).Status.Agent; agent.Fenced != nil {
		t.Errorf("acknowledged while a pod holds an address: %+v", agent.Fenced)
	}
	x.del()
	s.awaitPeer(a.node, "an acknowledgement", func(p *v1alpha1.Peer) bool {
		return p.Status.Agent.Fenced != nil && p.Status.Agent.Fenced.Generation == removed.Generation
	})
	if record := a.record(); record.Acknowledged != removed.Generation || record.PeerUID != string(removed.UID) {
		t.Errorf("acknowledged, but not on disk: %+v", record)
	}

	s.holdLease(a.node, v1alpha1.SealedHolder) // as the controller does before it reads the Peer again
	s.cancel(a.node)
	a.awaitServing()
	a.newPod()
	if record := a.record(); record.Acknowledged != 0 {
		t.Error("the disk still says acknowledged")
	}
	s.awaitPeer(a.node, "no acknowledgement", func(p *v1alpha1.Peer) bool { return p.Status.Agent.Fenced == nil })
}

// Cordoned and drained: what DaemonSets and static pods have left is cut off;
// a cancel puts it back.
func TestStartup_SuspendedCutOff(t *testing.T) {
	s, a, _, x, y := talking(t)
	s.declare(a.node)
	a.awaitRow(membership.Suspended)
	removed := s.changePeer(a.node, false, func(p *v1alpha1.Peer) { p.Spec.Removal.CutOff = true })
	s.awaitPeer(a.node, "an acknowledgement", func(p *v1alpha1.Peer) bool {
		return p.Status.Agent.Fenced != nil && p.Status.Agent.Fenced.Generation == removed.Generation
	})
	await.Until(t, "the stale pod to be cut off", x.isCutOff)
	a.kill() // what was cut off is put back by the next agent, too
	s.cancel(a.node)
	a.start()
	a.awaitServing()
	await.Until(t, "the link to be up again", x.isUp)
	await.Until(t, "pods to reach each other again", func() error { return y.reaches(x) })
}

// Transferring or Removed: marked, cut off, acknowledged, nothing served until
// the Peer is gone; then from scratch.
func TestStartup_Fenced(t *testing.T) {
	s := newStage(t)
	a, b := newMachine(t), newMachine(t)
	before, r := s.join(a)
	heir, _ := s.join(b)
	x := a.awaitPod()
	a.kill()
	s.declare(a.node)
	gone := s.transfer(a.node)
	s.awaitCutOff(b.node, string(before.UID))
	s.finish(gone, heir)
	b.awaitOwns(s, r)
	if err := a.status(); err != nil {
		t.Errorf("STATUS fails at once while the agent is away: %v", err)
	}

	a.start() // the removed peer returns, with its stale pod
	a.awaitRow(membership.Fenced)
	await.Until(t, "the stale pod to be cut off", x.isCutOff)
	if _, err := a.tryPod(); err == nil {
		t.Error("a fenced peer gave an address")
	}
	if err := a.status(); err == nil {
		t.Error("STATUS succeeds on a fenced peer")
	}
	s.awaitPeer(a.node, "an acknowledgement", func(p *v1alpha1.Peer) bool {
		return p.Status.Agent.Fenced != nil && p.Status.Agent.Fenced.Generation == p.Generation
	})
	if !a.record().IsFenced(string(before.UID)) {
		t.Errorf("acknowledged, but not on disk: %+v", a.record())
	}
	x.del()
	s.must(s.erase(t.Context(), a.node)) // the controller deletes it
	after := s.admit(a)
	if after.UID == before.UID || after.Spec.InstanceID == before.Spec.InstanceID {
		t.Errorf("not from scratch: %s/%s", after.UID, after.Spec.InstanceID)
	}
	s.grant(after)
	a.awaitServing()
	await.Until(t, "a pod with an address of its own", func() error {
		p, err := a.tryPod()
		if err == nil && p.addr == x.addr {
			t.Fatalf("%s is the heir's", p.addr)
		}
		return err
	})
}

// A PeerRemoval keeps the node out until it is deleted.
func TestStartup_DeclaredOut(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	declaration := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: a.node}}
	s.must(admin.Create(t.Context(), declaration))
	a.start()
	a.awaitRow(membership.DeclaredOut, "kubectl delete peerremoval "+a.node)
	s.awaitNodeEvent(a, "NetworkDeclaredOut", "kubectl delete peerremoval "+a.node)
	if err := a.status(); err == nil {
		t.Error("STATUS succeeds on a node that is out")
	}
	await.Throughout(t, leaseTime/2, "no Peer is made", func() error {
		var peers v1alpha1.PeerList
		if err := hand.List(t.Context(), &peers); err != nil || len(peers.Items) > 0 {
			return fmt.Errorf("%d Peers, %w", len(peers.Items), err)
		}
		return nil
	})
	s.must(admin.Delete(t.Context(), declaration))
	s.grant(s.admit(a))
	a.awaitServing()
	s.awaitNodeEvent(a, "NetworkServing")
}

// The Node was deleted and registered anew, the Peer is gone: from scratch, and
// what is left over from before is cut off first.
func TestStartup_Scratch(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, r := s.join(a)
	x := a.awaitPod()
	a.kill()
	s.must(admin.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.node}}))
	a.register()
	s.must(s.erase(t.Context(), a.node))
	s.own(t.Context(), r, nil)
	a.start()
	after := s.admit(a)
	await.Until(t, "the stale pod to be cut off", x.isCutOff)
	if after.UID == before.UID || after.Spec.InstanceID == before.Spec.InstanceID {
		t.Errorf("not from scratch: %s/%s", after.UID, after.Spec.InstanceID)
	}
	// The leftover pod still has its address: a range that holds it counts it.
	s.own(t.Context(), r, after)
	s.holdLease(a.node, v1alpha1.SealedHolder)
	a.awaitServing()
	for range 20 {
		if p := a.awaitPod(); p.addr == x.addr {
			t.Fatalf("%s, which a leftover pod has, was given again", p.addr)
		}
	}
}

// The Peer is gone although this node never left: pods run, nothing is
// allocated, until the space is another's.
func TestStartup_StateRegressed(t *testing.T) {
	s := newStage(t)
	a, b := newMachine(t), newMachine(t)
	_, r := s.join(a)
	other, _ := s.join(b)
	x, y := a.awaitPod(), b.awaitPod()
	await.Until(t, "pods to reach each other", func() error { return x.reaches(y) })
	s.must(s.erase(t.Context(), a.node)) // the finalizer is stripped by hand
	for _, again := range []bool{false, true} {
		if again {
			a.kill()
			a.start()
		}
		a.awaitRow(membership.Regressed, "StateRegressed", "selvage-agent reset")
		s.must(x.isUp())
		if _, err := a.tryPod(); err == nil {
			t.Error("an address was given in StateRegressed")
		}
		if err := a.status(); err != nil {
			t.Errorf("STATUS takes the node down: %v", err)
		}
	}
	s.own(t.Context(), r, other) // the orphan rule
	await.Until(t, "the stale pod to be cut off", x.isCutOff)
	fresh := s.admit(a)
	if a.record().PeerUID != string(fresh.UID) {
		t.Errorf("%+v", a.record())
	}
}

// Another instance has the name: touch nothing, say so, join once it is gone.
func TestStartup_ContendReimaged(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, r := s.join(a)
	x := a.awaitPod()
	a.kill()
	a.wipe()
	a.start()
	a.awaitRow(membership.Contend, before.Spec.InstanceID)
	contended := s.awaitPeer(a.node, "a contender", func(p *v1alpha1.Peer) bool { return p.Status.Agent.Contender != "" })
	if contended.Status.Agent.Contender != a.record().InstanceID {
		t.Errorf("contender %s, disk %+v", contended.Status.Agent.Contender, a.record())
	}
	s.must(x.isUp())
	if _, err := a.tryPod(); err == nil {
		t.Error("a contender gave an address")
	}
	if uid := s.peer(a.node).UID; uid != before.UID {
		t.Errorf("the Peer is another: %s", uid)
	}
	s.declare(a.node)
	gone := s.transfer(a.node)
	s.finish(gone, nil)
	s.must(s.erase(t.Context(), a.node))
	_ = r
	s.grant(s.admit(a))
	a.awaitServing()
	await.Until(t, "the stale pod to be cut off", x.isCutOff)
}

// A disk is copied to a second machine that goes by the same name: the copy
// contends, the original goes on.
func TestStartup_ContendCloned(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, _ := s.join(a)
	clone := newMachineAs(t, a.node)
	if out, err := exec.Command("cp", "-a", a.disk, clone.disk).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	clone.kubeconfig, clone.api = a.kubeconfig, a.api
	clone.start()
	clone.awaitRow(membership.Contend)
	if _, err := clone.tryPod(); err == nil {
		t.Error("a clone gave an address")
	}
	if instance := clone.record().InstanceID; instance == before.Spec.InstanceID {
		t.Error("the clone still goes by the original's instanceID")
	}
	await.Throughout(t, leaseTime, "the original serves", a.serves)
	a.newPod()
	if agent := s.peer(a.node).Status.Agent; agent.Contender != clone.record().InstanceID {
		t.Errorf("the original has wiped the contender away: %+v", agent)
	}
}

// The API server is away when the agent starts: pods keep their network,
// nothing is allocated before it has been seen.
func TestStartup_Unreachable(t *testing.T) {
	s, a, _, x, y := talking(t)
	a.kill()
	a.api.Cut()
	a.start()
	a.awaitRow(membership.Unreachable, "API server")
	if _, err := a.tryPod(); err == nil || !strings.Contains(err.Error(), "API server") {
		t.Errorf("ADD before the API was seen: %v", err)
	}
	s.must(x.reaches(y))
	if err := a.status(); err != nil {
		t.Errorf("STATUS takes the node down: %v", err)
	}
	x.del() // works without the API
	a.api.Heal()
	a.awaitServing()
	a.newPod()
}
