// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package skew

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/test/e2e/chaos/chronicle"
	"github.com/selvage-net/selvage/test/e2e/chaos/history"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

const (
	leaseTime = 5 * time.Second
	// patience is for what happens by itself: machines may be slow.
	patience = 90 * time.Second
	// askEvery is how often the one steady pod asks the other.
	askEvery = 20 * time.Millisecond
	// judgeLimit is for one address.
	judgeLimit = time.Minute
)

// stage is a cluster of the old version: two controllers, three machines, and
// two pods that talk all the while. The third machine is removed and comes back
// again and again.
type stage struct {
	*world.World
	t         *testing.T
	chronicle *chronicle.Chronicle
	steady    [2]*world.Pod
	peers     map[string]types.UID
	asked     int // by the first of the steady pods
	pods      int
}

func newStage(t *testing.T, from *version) *stage {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { tellLogs(t, dir) })
	w, err := world.New(t.Context(), world.Options{Dir: dir, Bin: from.bin, Source: from.source, Lease: leaseTime, Begin: time.Now(), Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	s := &stage{World: w, t: t, peers: map[string]types.UID{}}
	s.follow(filepath.Join(dir, "changes.json.gz"))
	first, largest := int32(28), int32(27)
	s.must(w.Admin.Create(t.Context(), &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v1alpha1.AddressPoolSpec{CIDR: "10.99.0.0/24", RangePrefixLength: &first, MaxRangePrefixLength: &largest}}))
	for range 2 {
		c, err := w.NewController(t.Context())
		s.must(err)
		s.must(c.Start(true))
	}
	for range 3 {
		m, err := w.NewMachine(t.Context())
		s.must(err)
		m.Up()
	}
	for _, m := range w.Machines {
		s.await(m.Name+" to be in the network", s.serves(m))
		s.chronicle.Look(func(v chronicle.View) { s.peers[m.Name] = v.Peer(m.Name).UID })
	}
	for i := range s.steady {
		s.steady[i] = s.runPod(w.Machines[i])
	}
	s.talk()
	return s
}

// tellLogs tells the last lines of every log, if the test has failed.
func tellLogs(t *testing.T, dir string) {
	if !t.Failed() {
		return
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Logf("%s ends:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-8):], "\n"))
	}
}

// follow has the chronicle read etcd until the end, and judge every revision.
func (s *stage) follow(path string) {
	archive, err := chronicle.NewArchive(path)
	s.must(err)
	following, stop := context.WithCancel(context.Background())
	s.chronicle, err = chronicle.Open(following, s.Plane.EtcdURL(), world.Namespace, s.Now, archive)
	s.must(err)
	var follower sync.WaitGroup
	follower.Go(func() {
		if err := s.chronicle.Follow(following); err != nil && following.Err() == nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(func() {
		stop()
		follower.Wait()
		s.must(archive.Close())
	})
}

// talk has the first steady pod ask the second until the end of the test.
func (s *stage) talk() {
	var mu sync.Mutex
	over := make(chan struct{})
	var talker sync.WaitGroup
	talker.Go(func() {
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			s.steady[0].Ask(s.steady[1].Address)
			mu.Lock()
			s.asked++
			mu.Unlock()
		}
	})
	s.t.Cleanup(func() {
		close(over)
		talker.Wait()
		s.lostNothing()
	})
}

// lostNothing: each question has been heard, and each answer.
func (s *stage) lostNothing() {
	one, other := s.steady[0].Address, s.steady[1].Address
	questions, answers := 0, 0
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		_, heard := s.History.Snapshot()
		questions, answers = 0, 0
		for _, h := range heard {
			switch {
			case h.Address == one && h.By == "steady2":
				questions++
			case h.Address == other && h.By == "steady1":
				answers++
			}
		}
		if questions == s.asked && answers == s.asked {
			s.t.Logf("the steady pods: %d questions, all of them answered", s.asked)
			return
		}
		<-time.After(askEvery)
	}
	s.t.Errorf("traffic was interrupted: %d questions, %d of them arrived, %d answers", s.asked, questions, answers)
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// await waits until etcd has what is wanted.
func (s *stage) await(what string, condition func(chronicle.View) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var lacking error
	err := s.chronicle.Await(ctx, func(v chronicle.View) bool {
		lacking = condition(v)
		return lacking == nil
	})
	if err != nil {
		s.t.Fatalf("waiting for %s: %v", what, lacking)
	}
}

// serves says what a machine lacks to be in the network with a range of its own.
func (s *stage) serves(m *world.Machine) func(chronicle.View) error {
	return func(v chronicle.View) error {
		if !v.Active(m.Name) || !v.Reachable(m.Name) {
			return fmt.Errorf("%s: active %t, holds its lease %t", m.Name, v.Active(m.Name), v.Reachable(m.Name))
		}
		if v.Peer(m.Name).Status.Ranges == 0 {
			return fmt.Errorf("%s owns nothing yet", m.Name)
		}
		return nil
	}
}

// runPod starts a pod; a kubelet tries again, too.
func (s *stage) runPod(m *world.Machine) *world.Pod {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	s.pods++
	name := fmt.Sprintf("pod%d", s.pods)
	if s.pods <= len(s.steady) {
		name = fmt.Sprintf("steady%d", s.pods)
	}
	var pod *world.Pod
	try := 0
	s.must(world.Persist(ctx, func(ctx context.Context) (err error) {
		try++
		attempt := name
		if try > 1 {
			attempt = fmt.Sprintf("%s-%d", name, try)
		}
		pod, err = m.RunPod(ctx, attempt, netip.Addr{})
		return err
	}))
	return pod
}

// remove takes the machine out by a PeerRemoval and lets it come back: it joins
// anew. A live agent acknowledges; of a dead one the lease runs out.
func (s *stage) remove(m *world.Machine, heir string, dead bool) {
	s.t.Helper()
	if dead {
		m.Down()
	}
	var uid types.UID
	s.chronicle.Look(func(v chronicle.View) { uid = v.Peer(m.Name).UID })
	removal := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: m.Name}, Spec: v1alpha1.PeerRemovalSpec{Heir: heir}}
	s.must(s.Admin.Create(s.t.Context(), removal))
	s.await("the removal of "+m.Name+" to end", func(v chronicle.View) error {
		r := v.Removal(m.Name)
		if r == nil || r.Status.Phase != v1alpha1.RemovalRemoved {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	s.must(s.Admin.Delete(s.t.Context(), removal))
	if dead {
		m.Up()
	}
	s.await(m.Name+" to be a new peer", func(v chronicle.View) error {
		p := v.Peer(m.Name)
		if p == nil || p.UID == uid || inventory.Phase(p) != v1alpha1.PhaseActive {
			return fmt.Errorf("%+v", p)
		}
		return s.serves(m)(v)
	})
}

// check is the audit by both versions' programs, each until it is clean: a
// pod's report may be on its way.
func (s *stage) check() {
	s.t.Helper()
	for _, v := range []*version{old, current} {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		said := ""
		err := world.Persist(ctx, func(ctx context.Context) (err error) {
			said, err = s.CheckBy(ctx, v.bin)
			return err
		})
		cancel()
		if err != nil {
			s.t.Errorf("kubectl selvage check of the %s version: %v\n%s", v.name, err, said)
		}
	}
}

// judge is what the chronicle and the registers of all addresses say.
func (s *stage) judge() {
	s.t.Helper()
	s.must(s.chronicle.Settle(s.t.Context()))
	for _, f := range s.chronicle.Findings() {
		s.t.Error(f)
	}
	holdings, heard := s.History.Snapshot()
	for _, h := range holdings {
		if h.Sure && !s.chronicle.MayOwn(h.Host, h.Address, h.Added) {
			s.t.Errorf("Fenced: %s was given to %s on %s, whose peer did not own it", h.Address, h.Pod, h.Host)
		}
	}
	reachable := heard[:0]
	for _, h := range heard {
		if s.chronicle.Reachable(h.ByHost, h.Span) {
			reachable = append(reachable, h)
		}
	}
	for _, v := range history.Judge(s.t.Context(), holdings, reachable, s.chronicle.Losses(), judgeLimit) {
		s.t.Errorf("OneHolder: %s (undecided: %t)\n%s", v.Address, v.Undecided, strings.Join(v.Story, "\n"))
	}
	s.t.Logf("%d addresses given to pods, %d words heard in the reachable network", len(holdings), len(reachable))
}
