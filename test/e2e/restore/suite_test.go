// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package restore

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/await"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

const (
	leaseTime = 5 * time.Second
)

// stage is a world, and the test that plays on it.
type stage struct {
	*testing.T
	*world.World
	dir string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("NOT RUN: machines are network namespaces, which takes root")
	}
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	s := &stage{T: t, dir: t.TempDir()}
	source, err := controlplane.SourceDir()
	s.must(err)
	bin := filepath.Join(s.dir, "bin")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin+"/",
		"./cmd/selvage-controller", "./cmd/selvage-agent", "./cmd/selvage", "./cmd/kubectl-selvage")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building Selvage: %v\n%s", err, out)
	}
	s.World, err = world.New(t.Context(), world.Options{
		Dir: s.dir, Bin: bin, Source: source, Lease: leaseTime, Begin: time.Now(), Out: t.Output(),
	})
	s.must(err)
	t.Cleanup(s.close)
	return s
}

func (s *stage) close() {
	s.World.Close()
	if !s.Failed() && os.Getenv("SELVAGE_LOGS") == "" {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
	for _, path := range logs {
		if text, err := os.ReadFile(path); err == nil {
			s.Logf("%s:\n%s", filepath.Base(path), text)
		}
	}
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// eventually waits until the condition holds, and fails with what it lacked.
func (s *stage) eventually(what string, condition func() error) {
	s.Helper()
	began := s.Now()
	await.Until(s, what, condition)
	s.Logf("%7.1f s (+%.1f): %s", s.Now().Seconds(), (s.Now() - began).Seconds(), what)
}

// throughout fails if the condition breaks within that time.
func (s *stage) throughout(span time.Duration, what string, condition func() error) {
	s.Helper()
	await.Throughout(s, span, what, condition)
	s.Logf("%7.1f s: throughout %s: %s", s.Now().Seconds(), span, what)
}

// machine makes one whose agent does not run yet.
func (s *stage) machine() *world.Machine {
	s.Helper()
	m, err := s.NewMachine(s.Context())
	s.must(err)
	return m
}

// pod runs one as soon as the machine takes it.
func (s *stage) pod(m *world.Machine, name string, want netip.Addr) *world.Pod {
	s.Helper()
	var p *world.Pod
	s.eventually("pod "+name+" on "+m.Name, func() (err error) {
		p, err = m.RunPod(s.Context(), name, want)
		return err
	})
	return p
}

// refuses expects that the machine gives no address, and says those words.
func (s *stage) refuses(m *world.Machine, words ...string) error {
	p, err := m.Progress(s.Context())
	if err != nil {
		return err
	}
	for _, word := range words {
		if !strings.Contains(p.Row+" "+p.Refused+" "+p.Waiting, word) {
			return fmt.Errorf("%s does not speak of %q: %+v", m.Name, word, p)
		}
	}
	if p.Refused == "" {
		return fmt.Errorf("%s allocates: %+v", m.Name, p)
	}
	return nil
}

func (s *stage) refusesPods(m *world.Machine) {
	s.Helper()
	if p, err := m.RunPod(s.Context(), m.Name+"-refused", netip.Addr{}); err == nil {
		s.Errorf("%s gave %s", m.Name, p.Address)
	}
}

// serves is nil while the machine allocates.
func (s *stage) serves(m *world.Machine) error {
	p, err := m.Progress(s.Context())
	if err == nil && (p.Row != "Resume" || p.Refused != "") {
		err = fmt.Errorf("%s: %+v", m.Name, p)
	}
	return err
}

// owned are the ranges of a machine's peer.
func (s *stage) owned(m *world.Machine) ([]v1alpha1.AddressRange, error) {
	var all v1alpha1.AddressRangeList
	if err := s.Admin.List(s.Context(), &all); err != nil {
		return nil, err
	}
	var owned []v1alpha1.AddressRange
	for _, r := range all.Items {
		if r.Spec.Owner != nil && r.Spec.Owner.Name == m.Name {
			owned = append(owned, r)
		}
	}
	return owned, nil
}

// awaitRanges waits until the machine's peer owns that many.
func (s *stage) awaitRanges(m *world.Machine, count int) (owned []v1alpha1.AddressRange) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s to own %d ranges", m.Name, count), func() (err error) {
		owned, err = s.owned(m)
		if err == nil && len(owned) != count {
			err = fmt.Errorf("it owns %d", len(owned))
		}
		return err
	})
	return owned
}

// ownership is who owns what, as text that can be compared.
func (s *stage) ownership() (string, error) {
	var all v1alpha1.AddressRangeList
	if err := s.Admin.List(s.Context(), &all); err != nil {
		return "", err
	}
	var lines []string
	for _, r := range all.Items {
		owner := "nobody"
		if r.Spec.Owner != nil {
			owner = r.Spec.Owner.Name + "/" + string(r.Spec.Owner.UID)
		}
		lines = append(lines, fmt.Sprintf("%s %s epoch %d of %s", r.UID, r.Spec.CIDR, r.Spec.Epoch, owner))
	}
	return strings.Join(lines, "\n"), nil
}

func (s *stage) declare(m, heir *world.Machine) {
	s.Helper()
	s.must(s.Admin.Create(s.Context(), &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: m.Name}, Spec: v1alpha1.PeerRemovalSpec{Heir: heir.Name}}))
}

func (s *stage) awaitRemoved(m *world.Machine) {
	s.Helper()
	s.eventually(m.Name+" to be removed", func() error {
		r := &v1alpha1.PeerRemoval{}
		err := s.Admin.Get(s.Context(), client.ObjectKey{Name: m.Name}, r)
		if err == nil && r.Status.Phase != v1alpha1.RemovalRemoved {
			err = fmt.Errorf("it is %s: %+v", r.Status.Phase, r.Status.Conditions)
		}
		return err
	})
}

// kubectl is what a person types.
func (s *stage) kubectl(stdin string, args ...string) {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), s.Plane.Kubectl, append([]string{"--kubeconfig=" + s.Plane.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// reaches pings.
func (s *stage) reaches(from, to *world.Pod) error {
	return from.Ping(s.Context(), to.Address, 2*time.Second)
}

var errMoved = errors.New("ownership has changed")
