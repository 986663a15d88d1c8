// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package restore

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/test/e2e/await"
	"github.com/selvage-net/selvage/test/e2e/chaos/history"
	"github.com/selvage-net/selvage/test/e2e/chaos/world"
)

// cast are the machines, by what has happened to each since the backup.
type cast struct {
	heir, grower, removed, late, bystander, waiting *world.Machine
	// pods run on the machine of that name.
	pods map[string][]*world.Pod
	// young is a pod on the one that waits.
	young *world.Pod
	// inherited is the range that went to the heir, grown those that were
	// granted, all of them after the backup.
	inherited v1alpha1.AddressRange
	grown     []v1alpha1.AddressRange
}

// etcd is restored from a backup while agents and controllers run.
func TestRestore(t *testing.T) {
	s := newStage(t)
	c := s.before()
	s.backup()
	s.since(c)
	streams := s.streams(c)
	remembered, err := s.ownership()
	s.must(err)
	s.restore()
	after, err := s.ownership()
	s.must(err)
	if after == remembered {
		t.Fatal("the backup is not older than what it replaced")
	}
	s.regressed(c)
	s.still(c, after)
	s.unbroken(streams)
	s.resolve(c)
	s.well(c)
}

// before is what the backup knows.
func (s *stage) before() *cast {
	s.Helper()
	first := int32(28)
	s.must(s.Admin.Create(s.Context(), &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		// Eight ranges: what is granted anew after the restore would most
		// likely be somebody's.
		Spec: v1alpha1.AddressPoolSpec{CIDR: "10.99.0.0/25", RangePrefixLength: &first, MaxRangePrefixLength: &first}}))
	for range 2 {
		controller, err := s.NewController(s.Context())
		s.must(err)
		s.must(controller.Start(true))
	}
	c := &cast{pods: map[string][]*world.Pod{}}
	for _, m := range []**world.Machine{&c.heir, &c.grower, &c.removed, &c.bystander} {
		*m = s.machine()
		(*m).Up()
		for i := range 2 {
			s.run(c, *m, fmt.Sprint(i), netip.Addr{})
		}
	}
	c.late, c.waiting = s.machine(), s.machine()
	// One has joined and is owed a range at the moment of the backup.
	for _, controller := range s.Controllers {
		s.must(controller.Freeze())
	}
	c.waiting.Up()
	s.eventually("a peer without a range", func() error {
		return s.Admin.Get(s.Context(), client.ObjectKey{Name: c.waiting.Name}, &v1alpha1.Peer{})
	})
	return c
}

func (s *stage) run(c *cast, m *world.Machine, name string, want netip.Addr) {
	s.Helper()
	c.pods[m.Name] = append(c.pods[m.Name], s.pod(m, m.Name+"-"+name, want))
}

// since is what the backup does not know: a removal, growth, a node that
// joined, and pods.
func (s *stage) since(c *cast) {
	s.Helper()
	for _, controller := range s.Controllers {
		s.must(controller.Thaw())
	}
	c.grown = append(c.grown, s.awaitRanges(c.waiting, 1)...)
	// The backup knows its Peer without the address that others are to send to:
	// its pod has no network until a controller has accepted that again.
	c.young = s.pod(c.waiting, c.waiting.Name+"-young", netip.Addr{})

	for _, p := range c.pods[c.removed.Name] {
		s.must(p.End())
	}
	delete(c.pods, c.removed.Name)
	c.inherited = s.awaitRanges(c.removed, 1)[0]
	s.declare(c.removed, c.heir)
	s.awaitRemoved(c.removed)
	s.awaitRanges(c.heir, 2)
	s.run(c, c.heir, "inherited", netip.MustParsePrefix(c.inherited.Spec.CIDR).Addr().Next())

	own := s.awaitRanges(c.grower, 1)[0].Name
	for i := range 9 { // until fewer are free than it wants to have
		s.run(c, c.grower, fmt.Sprintf("grown%d", i), netip.Addr{})
	}
	for _, r := range s.awaitRanges(c.grower, 2) {
		if r.Name != own {
			c.grown = append(c.grown, r)
			s.run(c, c.grower, "new", netip.MustParsePrefix(r.Spec.CIDR).Addr().Next().Next())
		}
	}

	c.late.Up()
	s.awaitRanges(c.late, 1)
	s.run(c, c.late, "late", netip.Addr{})
	s.run(c, c.bystander, "late", netip.Addr{})
}

// streams begin to ping between the pods that have most to lose.
func (s *stage) streams(c *cast) (streams []*hosts.PingStream) {
	s.Helper()
	last := func(m *world.Machine) *world.Pod { return c.pods[m.Name][len(c.pods[m.Name])-1] }
	for _, pair := range [][2]*world.Machine{{c.heir, c.bystander}, {c.grower, c.heir}, {c.late, c.grower}} {
		s.must(s.reaches(last(pair[0]), last(pair[1])))
		stream, err := last(pair[0]).StartPing(last(pair[1]).Address, 100*time.Millisecond)
		s.must(err)
		streams = append(streams, stream)
	}
	return streams
}

// unbroken ends the streams: nothing may have been lost.
func (s *stage) unbroken(streams []*hosts.PingStream) {
	s.Helper()
	for i, stream := range streams {
		if counts := stream.Stop(await.Limit); counts.Lost() > 0 {
			s.Errorf("stream %d: %d of %d packets were lost", i, counts.Lost(), counts.Sent)
		} else {
			s.Logf("stream %d: %d packets, all answered", i, counts.Sent)
		}
	}
}

// regressed: each that remembers more than the API shows says so. That is also
// who only watched a range change hands.
func (s *stage) regressed(c *cast) {
	s.Helper()
	for _, one := range []struct {
		m     *world.Machine
		words []string
	}{
		{c.heir, []string{"StateRegressed", "shows epoch 1, and this agent has seen 2"}},
		{c.grower, []string{"StateRegressed"}},
		{c.waiting, []string{"StateRegressed"}},
		{c.bystander, []string{"StateRegressed", "shows epoch 1, and this agent has seen 2"}},
		{c.late, []string{"StateRegressed", "no Peer"}},
		{c.removed, []string{"Fenced"}},
	} {
		s.eventually(fmt.Sprintf("%s to say %q", one.m.Name, one.words), func() error { return s.refuses(one.m, one.words...) })
		s.refusesPods(one.m)
	}
}

// still: pods keep their network, and nothing is granted or moved, although a
// peer is owed a range, for much longer than leases last.
func (s *stage) still(c *cast, ownership string) {
	s.Helper()
	s.throughout(5*leaseTime, "ownership stays as it is, and pods reach each other", func() error {
		now, err := s.ownership()
		if err == nil && now != ownership {
			err = fmt.Errorf("%w: from\n%s\nto\n%s", errMoved, ownership, now)
		}
		if err != nil {
			return err
		}
		return s.allReach(c)
	})
}

func (s *stage) allReach(c *cast) error {
	for name, pods := range c.pods {
		for _, other := range c.pods {
			if err := s.reaches(pods[len(pods)-1], other[0]); err != nil {
				return fmt.Errorf("from %s: %w", name, err)
			}
		}
	}
	return nil
}

// resolve is what people do: one node is given up, what the backup lacks is
// made again by hand, and the removal is declared again.
func (s *stage) resolve(c *cast) {
	s.Helper()
	for _, p := range c.pods[c.late.Name] {
		s.must(p.End())
	}
	delete(c.pods, c.late.Name)
	out, err := c.late.Reset(s.Context())
	if err != nil {
		s.Fatalf("reset: %v: %s", err, out)
	}
	s.Logf("%7.1f s: selvage-agent reset on %s says:\n%s", s.Now().Seconds(), c.late.Name, out)
	c.late.Crash() // to join anew, start the agent

	// Declared again, the removal names what holds it up: the heir's memory.
	s.declare(c.removed, c.heir)
	s.eventually("the removal to wait for the agents", func() error {
		r := &v1alpha1.PeerRemoval{}
		if err := s.Admin.Get(s.Context(), client.ObjectKey{Name: c.removed.Name}, r); err != nil {
			return err
		}
		for _, condition := range r.Status.Conditions {
			if condition.Reason == "AwaitingTerm" {
				return nil
			}
		}
		return fmt.Errorf("%s: %+v", r.Status.Phase, r.Status.Conditions)
	})
	s.handOver(c)
	for _, r := range c.grown {
		s.makeAgain(r)
	}
	for _, m := range []*world.Machine{c.heir, c.grower, c.waiting, c.bystander} {
		s.eventually(m.Name+" to serve again", func() error { return s.serves(m) })
	}
	s.awaitRemoved(c.removed)
	s.must(s.Admin.Delete(s.Context(), &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: c.removed.Name}}))
}

const reason = v1alpha1.BreakGlassAnnotation + "=etcd was restored"

// handOver breaks the glass, with the commands of docs/operate.md: the range that
// was inherited has its heir again, in the epoch that everybody has seen.
func (s *stage) handOver(c *cast) {
	s.Helper()
	heir, name := &v1alpha1.Peer{}, c.inherited.Name
	s.must(s.Admin.Get(s.Context(), client.ObjectKey{Name: c.heir.Name}, heir))
	s.kubectl("", "annotate", "addressrange", name, reason)
	s.kubectl("", "patch", "addressrange", name, "--type=merge", "-p", fmt.Sprintf(
		`{"spec": {"owner": {"name": %q, "uid": %q}, "previousOwner": {"name": %q, "uid": %q}, "epoch": 2}}`,
		heir.Name, heir.UID, c.inherited.Spec.Owner.Name, c.inherited.Spec.Owner.UID))
}

// makeAgain breaks the glass: a range that was granted after the backup is there
// again.
func (s *stage) makeAgain(lost v1alpha1.AddressRange) {
	s.Helper()
	s.kubectl(fmt.Sprintf(`{"apiVersion": "net.selvage.dev/v1alpha1", "kind": "AddressRange",
		"metadata": {"name": %q, "annotations": {%q: "etcd was restored"}}, "spec": {"pool": %q, "cidr": %q, "epoch": 0}}`,
		lost.Name, v1alpha1.BreakGlassAnnotation, lost.Spec.Pool, lost.Spec.CIDR), "create", "-f", "-")
	s.kubectl("", "patch", "addressrange", lost.Name, "--type=merge", "-p",
		fmt.Sprintf(`{"spec": {"owner": {"name": %q, "uid": %q}, "epoch": 1}}`, lost.Spec.Owner.Name, lost.Spec.Owner.UID))
}

// well: everything serves, all is clean, and no address was ever held twice.
func (s *stage) well(c *cast) {
	s.Helper()
	for _, m := range s.Machines {
		s.eventually(m.Name+" to serve", func() error { return s.serves(m) })
		s.run(c, m, "again", netip.Addr{})
	}
	c.pods[c.waiting.Name] = append(c.pods[c.waiting.Name], c.young)
	s.eventually("all pods to reach each other", func() error { return s.allReach(c) })
	s.eventually("kubectl selvage check to be clean", func() error {
		out, err := s.Check(s.Context())
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	holdings, heard := s.History.Snapshot()
	for _, v := range history.Judge(s.Context(), holdings, heard, nil, time.Minute) {
		s.Errorf("OneHolder: %s: %v", v.Address, v.Story)
	}
}
