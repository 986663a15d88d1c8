// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// What else can go wrong, as far as it concerns an agent.

// The API server hangs, then is killed: pods keep talking, ADD works until the
// lease runs out and then fails with a reason; afterwards all goes on.
func TestTrouble_APIServerDown(t *testing.T) {
	s, a, _, x, y := talking(t)
	pings, err := x.StartPing(y.addr, pingEvery)
	s.must(err)
	s.must(plane.APIServer.Signal(syscall.SIGSTOP))
	down := time.Now()
	for range 5 {
		// Whatever the machine's speed: what is asked well within the lease is given.
		if _, err := a.tryPod(); err != nil && time.Since(down) < leaseTime/2 {
			t.Errorf("ADD %s after the API server hung: %v", time.Since(down), err)
		}
	}
	await.Until(t, "the lease to run out", func() error {
		p, err := a.tryPod()
		if err == nil {
			return fmt.Errorf("%s was given", p.addr)
		}
		if !strings.Contains(err.Error(), "lease ran out") || !strings.Contains(err.Error(), `"code":11`) {
			t.Fatalf("no reason, or no code to try again: %v", err)
		}
		return nil
	})
	plane.APIServer.Kill()
	x2, err := a.tryPod()
	if err == nil {
		t.Errorf("%s was given after the lease had run out", x2.addr)
	}
	if err := a.status(); err != nil {
		t.Errorf("STATUS takes the node down: %v", err)
	}
	s.must(plane.APIServer.Start(t.Context()))
	a.awaitServing()
	a.newPod()
	if counts := pings.Stop(await.Limit); counts.Lost() != 0 {
		t.Errorf("%d of %d packets were lost", counts.Lost(), counts.Sent)
	}
}

// The machine is suspended past its lease, and the lease is sealed meanwhile:
// on waking nothing is allocated before it is taken anew.
func TestTrouble_SuspendedMachine(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, _ := s.join(a)
	x := a.awaitPod()
	a.signal(syscall.SIGSTOP)
	version := ""
	var since time.Time
	await.Until(t, "the lease to be unchanged for its duration", func() error {
		if l := s.lease(a.node); l.ResourceVersion != version {
			version, since = l.ResourceVersion, time.Now()
		}
		if left := leaseTime + leaseTime/10 - time.Since(since); left > 0 {
			return fmt.Errorf("%s to go", left)
		}
		return nil
	})
	s.holdLease(a.node, v1alpha1.SealedHolder)
	a.api.Cut() // so that it cannot be taken anew at once
	a.signal(syscall.SIGCONT)
	if p, err := a.tryPod(); err == nil {
		t.Errorf("%s was given by an agent that woke up after its lease", p.addr)
	}
	a.api.Heal()
	a.awaitServing()
	if holder := *s.lease(a.node).Spec.HolderIdentity; !strings.HasPrefix(holder, string(before.UID)+"/") {
		t.Errorf("the lease's holder: %s", holder)
	}
	s.must(x.isUp())
}

// Another run of the same incarnation takes the lease: this one stops.
func TestTrouble_LeaseTaken(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	p, _ := s.join(a)
	x := a.awaitPod()
	s.holdLease(a.node, string(p.UID)+"/another")
	await.Until(t, "allocation to stop", func() error {
		_, err := a.tryPod()
		if err == nil || !strings.Contains(err.Error(), "Cloned") {
			return fmt.Errorf("ADD: %w", err)
		}
		return nil
	})
	s.awaitPeer(a.node, "Cloned in its report", func(p *v1alpha1.Peer) bool {
		return strings.HasPrefix(p.Status.Agent.Suspended, "Cloned")
	})
	await.Throughout(t, leaseTime, "the other keeps the lease", func() error {
		if holder := *s.lease(a.node).Spec.HolderIdentity; !strings.HasSuffix(holder, "/another") {
			return fmt.Errorf("holder %s", holder)
		}
		return nil
	})
	s.must(x.isUp())
	a.stop() // a person has decided which of the two is right
	a.start()
	a.awaitServing()
}

// The Lease is deleted: it is taken anew.
func TestTrouble_LeaseDeleted(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	s.must(admin.Delete(t.Context(), s.lease(a.node)))
	await.Until(t, "the lease to be back", func() error {
		if s.lease(a.node) == nil {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	a.awaitServing()
	a.newPod()
}

// Two agents on one machine: the second refuses to start, and says why.
func TestTrouble_TwoAgents(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	out, err := a.runAgent(t.Context(), a.args()...)
	if err == nil || !strings.Contains(out, "another selvage-agent runs on this machine") {
		t.Errorf("the second agent: %v: %s", err, out)
	}
	s.must(a.serves())
}

// The machine is renamed: it joins under its new name, and its pods, whose
// addresses belong to the old one, are cut off.
func TestTrouble_Renamed(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	before, _ := s.join(a)
	x := a.awaitPod()
	a.kill()
	a.node, a.kubeconfig = a.node+"-renamed", ""
	a.register()
	a.start()
	after := s.admit(a)
	await.Until(t, "the stale pod to be cut off", x.isCutOff)
	if after.Spec.InstanceID == before.Spec.InstanceID || s.peer(before.Name).UID != before.UID {
		t.Errorf("was %s, is %s", before.Spec.InstanceID, after.Spec.InstanceID)
	}
	s.grant(after)
	a.awaitServing()
	if p := a.awaitPod(); p.addr == x.addr {
		t.Errorf("%s is the old name's", p.addr)
	}
}

// A machine comes back with another's name: it contends, and gives nothing.
func TestTrouble_AnothersName(t *testing.T) {
	s := newStage(t)
	a, b := newMachine(t), newMachine(t)
	owner, _ := s.join(a)
	s.join(b)
	y := b.awaitPod()
	b.kill()
	b.node, b.kubeconfig = a.node, a.kubeconfig
	b.start()
	b.awaitRow(membership.Contend, owner.Spec.InstanceID)
	s.must(y.isUp())
	if _, err := b.tryPod(); err == nil {
		t.Error("an address was given under another's name")
	}
	s.must(a.serves())
	a.newPod()
}

// The CRDs are deleted by mistake: nothing is cut off, and nothing is lost on
// disk; with the objects gone the agents wait.
func TestTrouble_CRDsDeleted(t *testing.T) {
	s, a, b, x, y := talking(t)
	pings, err := x.StartPing(y.addr, pingEvery)
	s.must(err)
	t.Cleanup(func() {
		if err := plane.Install(context.Background(), "../../../config/crd"); err != nil {
			t.Error(err)
		}
	})
	for _, kind := range []string{"addressranges", "peers", "peerremovals", "addresspools"} {
		name := kind + "." + v1alpha1.GroupVersion.Group
		s.must(deleteCRD(name))
	}
	for _, m := range []*machine{a, b} {
		// The finalizer holds the Peer, and is stripped by somebody in a hurry.
		s.must(s.erase(t.Context(), m.node))
	}
	await.Until(t, "the definitions to be gone", func() error {
		err := hand.List(t.Context(), &v1alpha1.PeerList{})
		if err == nil {
			return fmt.Errorf("peers are still served")
		}
		return nil
	})
	await.Until(t, "allocation to stop", func() error {
		if a.serves() == nil {
			return fmt.Errorf("it goes on")
		}
		return nil
	})
	a.kill() // one that starts now touches nothing either
	a.start()
	a.awaitRow(membership.Unreachable, "CRDs")
	await.Throughout(t, leaseTime, "pods talk", func() error { return x.reaches(y) })
	if counts := pings.Stop(await.Limit); counts.Lost() != 0 {
		t.Errorf("%d of %d packets were lost", counts.Lost(), counts.Sent)
	}
	s.must(plane.Install(t.Context(), "../../../config/crd"))
	// An empty API is not believed: this node never left.
	a.awaitRow(membership.Regressed, "StateRegressed")
	b.awaitRow(membership.Regressed, "StateRegressed")
	s.must(x.reaches(y))
}

// An agent that has seen a higher epoch than the API shows: etcd was restored.
func TestTrouble_EpochFell(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	_, r := s.join(a)
	x := a.awaitPod()
	a.stop()
	store, err := membership.OpenStore(a.disk)
	s.must(err)
	s.must(store.Update(func(record *membership.Record) {
		known := record.Ranges[string(r.UID)]
		known.Epoch += 2
		record.Ranges[string(r.UID)] = known
	}))
	s.must(store.Close())
	a.start()
	s.awaitPeer(a.node, "StateRegressed in its report", func(p *v1alpha1.Peer) bool {
		return strings.Contains(p.Status.Agent.Suspended, "shows epoch 1, and this agent has seen 3")
	})
	if p, err := a.tryPod(); err == nil {
		t.Errorf("%s was given from a lower epoch", p.addr)
	}
	s.must(x.isUp())
	s.own(t.Context(), r, nil)
	s.own(t.Context(), r, s.peer(a.node))
	a.awaitServing()
}

// A survivor cuts a removed peer off, and then says so on its Lease, at once.
func TestTrouble_CutOffIsReported(t *testing.T) {
	s, a, b, x, y := talking(t)
	dying := s.peer(a.node)
	a.kill()
	s.declare(a.node)
	s.must(y.reaches(x)) // Fencing cuts nobody off
	s.transfer(a.node)
	s.awaitCutOff(b.node, string(dying.UID))
	if x.reaches(y) == nil {
		t.Error("a removed peer is heard after its cut-off was reported")
	}
	b.kill() // and by a run that starts later, too
	b.start()
	b.awaitServing()
	s.awaitCutOff(b.node, string(dying.UID))
	if x.reaches(y) == nil {
		t.Error("a removed peer is heard by a later run")
	}
}

// A finalizer is stripped: an owner that no Peer is gets cut off, and reported.
func TestTrouble_FinalizerStripped(t *testing.T) {
	s, a, b, x, y := talking(t)
	lost := s.peer(a.node)
	a.kill()
	s.must(s.erase(t.Context(), a.node))
	s.awaitCutOff(b.node, string(lost.UID))
	if x.reaches(y) == nil {
		t.Error("an orphan's owner is heard after its cut-off was reported")
	}
}

// Agents echo the controllers' leader, after they have compared.
func TestTrouble_TermIsEchoed(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	for _, holder := range []string{"first", "second"} {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.LeaderLease}}
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(l), l)
		s.must(client.IgnoreNotFound(err))
		l.Spec.HolderIdentity = &holder
		if err != nil {
			err = admin.Create(t.Context(), l)
		} else {
			err = admin.Update(t.Context(), l)
		}
		s.must(err)
		await.Until(t, "the term to be echoed", func() error {
			if term := s.lease(a.node).Annotations[v1alpha1.TermAnnotation]; term != holder {
				return fmt.Errorf("it is %q", term)
			}
			return nil
		})
	}
}

// deleteCRD deletes a definition as somebody does who takes the guard off first.
func deleteCRD(name string) error {
	out, err := exec.Command(filepath.Clean(plane.Kubectl), "--kubeconfig="+plane.Kubeconfig, "delete", "--wait=false", "crd", name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
