// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/await"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

// live is host3 with a pod that talks to one on host1, and what it had.
type live struct {
	*stage
	here, there *world.Pod
	peer        *v1alpha1.Peer
	ranges      []string
}

func (s *stage) live() *live {
	s.Helper()
	return &live{stage: s, here: s.pod(host3, "here"), there: s.pod(host1, "there"), peer: s.peer(host3), ranges: s.owned(host3)}
}

// lives fails if it has lost anything.
func (l *live) lives() {
	l.Helper()
	l.unharmed(host3, l.peer, l.ranges)
	l.reach(l.here, l.there)
	if !l.here.Connected() {
		l.Fatal("its pod has lost its network")
	}
}

// end cancels what is declared, which it still can.
func (l *live) end(cancel func() error) {
	l.Helper()
	l.must(cancel())
	l.awaitNoRemoval()
	await.Until(l, "host3 to serve again", func() error { return l.serves(host3) })
	l.lives()
	l.must(errors.Join(l.here.End(), l.there.End()))
}

// With force, Flux deletes what it may not change, and makes it anew: that
// cancels the removal and declares another. The live peer does not notice.
func TestForce_OtherHeir(t *testing.T) {
	s := newStage(t)
	f := s.flux()
	f.Spec.Wait = false
	l := s.live()
	_, err := f.reconcile(declared())
	s.must(err)
	first := s.awaitPhase(v1alpha1.RemovalFencing)
	changed := declared().edited("network/host3.yaml", "heir: host1", otherHeir)
	f.Spec.Force = true
	_, err = f.reconcile(changed)
	s.must(err)
	second := s.awaitPhase(v1alpha1.RemovalFencing)
	if second.UID == first.UID || second.Spec.Heir != "host2" {
		t.Errorf("it is %s with heir %s, as if nothing was forced", second.UID, second.Spec.Heir)
	}
	l.lives()
	l.end(func() error {
		_, err := f.reconcile(reverted())
		return err
	})
}

// Peers and ranges in git are a mistake. With force, and as an administrator of
// the cluster (which Flux and Argo CD are, unless told otherwise), it is refused.
func TestForce_Ownership(t *testing.T) {
	s := newStage(t)
	l := s.live()
	f := s.flux()
	f.as(cluster.Plane.Config)
	f.Spec.Wait, f.Spec.Force = false, true
	for what, c := range map[string]struct{ kind, name, old, changed, want string }{
		"another instance":      {"peer", "host3", l.peer.Spec.InstanceID, "another-instance", "apply a PeerRemoval of its name: kubectl selvage rmpeer host3"},
		"another node":          {"peer", "host3", "nodeName: host3", "nodeName: host2", "apply a PeerRemoval of its name: kubectl selvage rmpeer host3"},
		"another owner":         {"addressrange", l.ranges[0], "name: host3", "name: host2", "is written by selvage-controller alone"},
		"other addresses":       {"addressrange", l.ranges[0], "/24", "/25", "is written by selvage-controller alone"},
		"a range that was away": {"addressrange", l.ranges[0], "epoch: ", "epoch: 1", "is written by selvage-controller alone"},
	} {
		manifest := examples{"network/" + c.kind + ".yaml": s.exported(c.kind, c.name)}.edited("network/"+c.kind+".yaml", c.old, c.changed)
		if _, err := f.reconcile(manifest); err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "is owned by host3") {
			t.Errorf("%s, by force: %v", what, err)
		}
		l.lives()
	}
	// Declared just as it is, it gets Flux's labels; pruning it is refused.
	manifest := examples{"network/peer.yaml": s.exported("peer", "host3")}
	if _, err := f.reconcile(manifest); err != nil {
		t.Errorf("labels harm nobody: %v", err)
	}
	if _, err := f.reconcile(examples{}); err == nil || !strings.Contains(err.Error(), "apply a PeerRemoval of its name") {
		t.Errorf("a Peer was pruned: %v", err)
	}
	l.lives()
	s.must(errors.Join(l.here.End(), l.there.End()))
}

// What refuses that are the policies: without them the API server would delete
// a live peer and what it owns for whoever may (it is asked, and does not).
func TestForce_WithoutPolicies(t *testing.T) {
	s := newStage(t)
	source, err := controlplane.SourceDir()
	s.must(err)
	owned := s.owned(host3)[0]
	for _, c := range []struct{ kind, name, policy string }{
		{"peer", "host3", "peer-single-writer"},
		{"addressrange", owned, "addressrange-single-writer"},
	} {
		deletion := []string{"delete", c.kind, c.name, "--wait=false", "--dry-run=server"}
		policy := filepath.Join(source, "config/admission", c.policy+".yaml")
		if out, err := kubectl(s.ctx(), "", deletion...); err == nil {
			t.Errorf("%s, with policies: %s", c.kind, out)
		}
		s.kubectl("delete", "validatingadmissionpolicybinding", c.policy)
		if c.kind == "addressrange" { // it has two
			s.kubectl("delete", "validatingadmissionpolicybinding", "addressrange-in-use-stays")
		}
		await.Until(s, c.kind+" to be unprotected", func() error {
			out, err := kubectl(s.ctx(), "", deletion...)
			if err != nil {
				return errors.New(out)
			}
			return nil
		})
		s.kubectl("apply", "-f", policy, "-f", filepath.Join(source, "config/admission/addressrange-in-use-stays.yaml"))
		await.Until(s, c.kind+" to be protected again", func() error {
			if out, err := kubectl(s.ctx(), "", deletion...); err == nil {
				return errors.New(out)
			}
			return nil
		})
	}
}

// kubectl succeeds.
func (s *stage) kubectl(args ...string) {
	s.Helper()
	if out, err := kubectl(s.ctx(), "", args...); err != nil {
		s.Fatalf("kubectl %s: %s", strings.Join(args, " "), out)
	}
}

// exported is a manifest as somebody would put it into git who took it out of
// the cluster.
func (s *stage) exported(kind, name string) string {
	s.Helper()
	text, err := kubectl(s.ctx(), "", "get", kind, name, "-o", "yaml")
	if err != nil {
		s.Fatal(text)
	}
	var o map[string]any
	s.must(yaml.Unmarshal([]byte(text), &o))
	delete(o, "status")
	o["metadata"] = map[string]any{"name": name}
	out, err := yaml.Marshal(o)
	s.must(err)
	return fmt.Sprintf("# exported\n%s", out)
}

// Once the ranges have moved, force changes nothing of it: there was one heir.
func TestForce_TooLate(t *testing.T) {
	s := newStage(t)
	f := s.flux()
	_, err := f.reconcile(reverted())
	s.must(err)
	ranges := s.owned(host3)
	host3.Down()
	_, err = f.reconcile(declared())
	s.must(err)
	second := s.owned(host2)
	f.Spec.Force, f.Spec.Wait = true, false
	_, err = f.reconcile(declared().edited("network/host3.yaml", "heir: host1", otherHeir))
	s.must(err)
	await.Until(s, "the controller to have looked at what is declared anew", func() error {
		r := s.removal()
		if r == nil || r.Status.ObservedGeneration != r.Generation || r.Spec.Heir != "host2" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if now := s.owned(host2); strings.Join(now, " ") != strings.Join(second, " ") {
		t.Errorf("host2 has inherited as well: %v, had %v", now, second)
	}
	for _, name := range ranges {
		if !strings.Contains(" "+strings.Join(s.owned(host1), " ")+" ", " "+name+" ") {
			t.Errorf("%s is not the first heir's", name)
		}
	}
	host3.Up()
	_, err = f.reconcile(reverted())
	s.must(err)
}
