// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package gitops

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

// stage is the cluster with everyone in the network and nothing declared. The
// test must leave it so.
type stage struct {
	*testing.T
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t}
	await.Until(s, "all to be in the network", s.well)
	t.Cleanup(func() {
		if !t.Failed() {
			await.Until(s, "all to be in the network again", s.well)
		}
	})
	return s
}

// well is nil while all three serve, nothing is declared, and no invariant is
// broken.
func (s *stage) well() error {
	var removals v1alpha1.PeerRemovalList
	if err := cluster.Admin.List(s.ctx(), &removals); err != nil {
		return err
	}
	if len(removals.Items) > 0 {
		return fmt.Errorf("there is a removal of %s", removals.Items[0].Name)
	}
	for _, m := range cluster.Machines {
		if err := s.serves(m); err != nil {
			return err
		}
		if len(s.owned(m)) == 0 {
			return fmt.Errorf("%s owns nothing yet", m.Name)
		}
	}
	if out, err := cluster.Check(s.ctx()); err != nil {
		return fmt.Errorf("kubectl selvage check: %w: %s", err, out)
	}
	return nil
}

// ctx lives until the test's cleanups have ended, too.
func (s *stage) ctx() context.Context { return context.WithoutCancel(s.Context()) }

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// serves is nil while the machine allocates.
func (s *stage) serves(m *world.Machine) error {
	p, err := m.Progress(s.ctx())
	if err == nil && (p.Row != "Resume" || p.Refused != "") {
		err = fmt.Errorf("%s: %+v", m.Name, p)
	}
	return err
}

// pod runs one as soon as the machine takes it.
func (s *stage) pod(m *world.Machine, name string) *world.Pod {
	s.Helper()
	var p *world.Pod
	await.Until(s, "pod "+name+" on "+m.Name, func() (err error) {
		p, err = m.RunPod(s.ctx(), name, netip.Addr{})
		return err
	})
	return p
}

// reach pings in both directions: nobody has cut anybody off.
func (s *stage) reach(a, b *world.Pod) {
	s.Helper()
	s.must(errors.Join(a.Ping(s.ctx(), b.Address, await.Limit), b.Ping(s.ctx(), a.Address, await.Limit)))
}

func (s *stage) peer(m *world.Machine) *v1alpha1.Peer {
	s.Helper()
	p := &v1alpha1.Peer{}
	s.must(cluster.Admin.Get(s.ctx(), client.ObjectKey{Name: m.Name}, p))
	return p
}

// unharmed fails if the machine's peer is another than it was, has lost its
// ranges, or is on its way out.
func (s *stage) unharmed(m *world.Machine, before *v1alpha1.Peer, ranges []string) {
	s.Helper()
	now := s.peer(m)
	if now.UID != before.UID || now.DeletionTimestamp != nil {
		s.Fatalf("%s is another peer than it was, or is being deleted: %s, was %s", m.Name, now.UID, before.UID)
	}
	if owned := s.owned(m); strings.Join(owned, " ") != strings.Join(ranges, " ") {
		s.Fatalf("%s owns %v, and had %v", m.Name, owned, ranges)
	}
}

// owned are the machine's ranges.
func (s *stage) owned(m *world.Machine) (names []string) {
	s.Helper()
	var all v1alpha1.AddressRangeList
	s.must(cluster.Admin.List(s.ctx(), &all))
	for _, r := range all.Items {
		if r.Spec.Owner != nil && r.Spec.Owner.Name == m.Name {
			names = append(names, r.Name)
		}
	}
	return names
}

// removal is what is declared of host3; nil: nothing.
func (s *stage) removal() *v1alpha1.PeerRemoval {
	s.Helper()
	r := &v1alpha1.PeerRemoval{}
	err := cluster.Admin.Get(s.ctx(), client.ObjectKey{Name: host3.Name}, r)
	if apierrors.IsNotFound(err) {
		return nil
	}
	s.must(err)
	return r
}

// awaitPhase waits until the removal of host3 is in that phase.
func (s *stage) awaitPhase(phase v1alpha1.RemovalPhase) *v1alpha1.PeerRemoval {
	s.Helper()
	var r *v1alpha1.PeerRemoval
	await.Until(s, "the removal to be "+string(phase), func() error {
		if r = s.removal(); r == nil {
			return errors.New("there is none")
		}
		if r.Status.Phase != phase {
			return fmt.Errorf("it is %q: %+v", r.Status.Phase, r.Status.Conditions)
		}
		return nil
	})
	return r
}

func (s *stage) awaitNoRemoval() {
	s.Helper()
	await.Until(s, "the removal to be gone", func() error {
		if r := s.removal(); r != nil {
			return fmt.Errorf("it is %s", r.Status.Phase)
		}
		return nil
	})
}

// kubectl is what Argo CD's engine calls, and people type.
func kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, cluster.Plane.Kubectl, append([]string{"--kubeconfig=" + cluster.Plane.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func kubectlApply(ctx context.Context, manifest string) error {
	if manifest == "" {
		return errors.New("docs/gitops.md does not have that manifest")
	}
	if out, err := kubectl(ctx, manifest, "apply", "-f", "-"); err != nil {
		return fmt.Errorf("kubectl apply: %w: %s\n%s", err, out, manifest)
	}
	return nil
}
