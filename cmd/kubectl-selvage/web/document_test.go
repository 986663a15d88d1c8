// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

var noon = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// state is a pool of 10.0.0.0/24 with n peers, host0 on, a range of 2^bits
// addresses each.
func state(n, bits int) *inventory.State {
	s := &inventory.State{Leases: map[string]coordinationv1.Lease{}, Namespace: "selvage-system"}
	s.Pools = []v1alpha1.AddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.0.0.0/8"}}}
	for i := range n {
		name := fmt.Sprint("host", i)
		p := v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(noon)}}
		p.Spec.InstanceID = "instance-of-" + name
		p.Status.Agent = &v1alpha1.AgentReport{Version: "v1", HostName: name + ".rack"}
		p.Status.Underlay = []string{fmt.Sprintf("192.168.%d.%d", i/250, i%250)}
		s.Peers = append(s.Peers, p)
		at := i << bits
		r := v1alpha1.AddressRange{Spec: v1alpha1.AddressRangeSpec{
			Pool: "default", Epoch: 1, CIDR: fmt.Sprintf("10.%d.%d.%d/%d", at>>16, at>>8&255, at&255, 32-bits),
			Owner: &v1alpha1.PeerReference{Name: name, UID: p.UID},
		}}
		r.Status.Used = int64(i % (1 << bits))
		s.Ranges = append(s.Ranges, r)
		holder, renewed, lasts := string(p.UID), metav1.NewMicroTime(noon), int32(40)
		s.Leases[name] = coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed, LeaseDurationSeconds: &lasts}}
	}
	return s
}

// sealed seals a peer's lease.
func sealed(s *inventory.State, name string) {
	l := s.Leases[name]
	holder := v1alpha1.SealedHolder
	l.Spec.HolderIdentity = &holder
	s.Leases[name] = l
}

func TestPeers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*inventory.State)
		want   Peer // what is left empty is not looked at
	}{
		{"well", func(*inventory.State) {}, Peer{State: "Active", Health: "good", Lease: "held", Renewed: noon.UnixMilli(), Lasts: 40000, Ranges: 1, Addresses: 16, Used: 1}},
		{"sealed", func(s *inventory.State) { sealed(s, "host1") }, Peer{State: "Active, unreachable", Health: "bad", Lease: "sealed", Message: "unreachable: its lease is sealed or absent"}},
		{"absent", func(s *inventory.State) { delete(s.Leases, "host1") }, Peer{State: "Active, unreachable", Health: "bad", Lease: "absent"}},
		{"leases unread", func(s *inventory.State) {
			s.Leases, s.Unread = nil, map[inventory.Part]error{inventory.Leases: errors.New("forbidden")}
		}, Peer{State: "Active", Health: "good", Lease: "unread"}},
		{"fencing", func(s *inventory.State) { s.Peers[1].Status.Phase = v1alpha1.PhaseFencing }, Peer{State: "Fencing", Health: "warn"}},
		{"removed", func(s *inventory.State) { s.Peers[1].Status.Phase = v1alpha1.PhaseRemoved }, Peer{State: "Removed", Health: "gone"}},
		{"ranges unread", func(s *inventory.State) {
			s.Ranges, s.Unread = nil, map[inventory.Part]error{inventory.Ranges: errors.New("forbidden")}
			s.Peers[1].Status.Ranges, s.Peers[1].Status.Addresses, s.Peers[1].Status.Used = 3, 300, 30
		}, Peer{State: "Active", Health: "good", Ranges: 3, Addresses: 300, Used: 30}},
		{"suspended", func(s *inventory.State) {
			s.Peers[1].Status.Agent.Suspended = "StateRegressed: it remembers more"
			s.Peers[1].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Message: "suspended"}}
		}, Peer{State: "Active", Health: "warn", Message: "StateRegressed: it remembers more"}},
	} {
		s := state(3, 4)
		c.change(s)
		got := Compose("here", s, NewKeys(), noon).Peers[1]
		if got.Name != "host1" || got.State != c.want.State || got.Health != c.want.Health {
			t.Errorf("%s: %s is %s, %s; want %s, %s", c.name, got.Name, got.State, got.Health, c.want.State, c.want.Health)
		}
		for what, pair := range map[string][2]any{
			"lease": {got.Lease, c.want.Lease}, "renewed": {got.Renewed, c.want.Renewed}, "lasts": {got.Lasts, c.want.Lasts}, "message": {got.Message, c.want.Message},
			"ranges": {got.Ranges, c.want.Ranges}, "addresses": {got.Addresses, c.want.Addresses}, "used": {got.Used, c.want.Used},
		} {
			if pair[1] != "" && pair[1] != 0 && pair[1] != int64(0) && pair[0] != pair[1] {
				t.Errorf("%s: %s is %v, want %v", c.name, what, pair[0], pair[1])
			}
		}
	}
}

// A removal is told in the words of kubectl selvage status, from its
// declaration to its end.
func TestRemovals(t *testing.T) {
	s := state(3, 4)
	declared := v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: "host2", CreationTimestamp: metav1.NewTime(noon)}, Spec: v1alpha1.PeerRemovalSpec{Heir: "host0"}}
	s.Removals = []v1alpha1.PeerRemoval{declared}
	p, r := &s.Peers[2], &s.Removals[0]
	see := func() (Removal, Arc) {
		t.Helper()
		d := Compose("here", s, NewKeys(), noon)
		if len(d.Removals) != 1 || len(d.Ended) != 0 {
			t.Fatalf("removals %+v, ended %+v", d.Removals, d.Ended)
		}
		return d.Removals[0], d.Pools[0].Arcs[2]
	}
	if got, _ := see(); got.Phase != "Pending" || got.State != "removing host2 … waiting for the controller to accept the removal" || got.Since != noon.UnixMilli() || got.Heir != "host0" {
		t.Errorf("%+v", got)
	}
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, Heir: "host0"}
	p.Status.Phase, r.Status.Phase, r.Status.PeerUID = v1alpha1.PhaseFencing, v1alpha1.RemovalFencing, p.UID
	r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Message: "waiting <b>for</b> its lease"}}
	got, arc := see()
	if got.State != "fencing host2 … waiting <b>for</b> its lease" || !strings.Contains(got.Next, "kubectl selvage cancel host2") || got.CutOff != 0 || got.Others != 2 {
		t.Errorf("%+v", got)
	}
	if arc.Mark != "leaving" || arc.Sign != "~" || !arc.Moves || arc.From != "host2" || arc.To != "host0" || arc.Why != "of host2, whose removal is under way; goes to host0" {
		t.Errorf("%+v", arc)
	}
	p.Status.Phase, r.Status.Phase, r.Status.Evidence = v1alpha1.PhaseTransferring, v1alpha1.RemovalTransferring, v1alpha1.EvidenceLeaseExpired
	l := s.Leases["host0"]
	l.Annotations = map[string]string{v1alpha1.CutOffAnnotation: string(p.UID)}
	s.Leases["host0"] = l
	if got, arc = see(); got.Evidence != "LeaseExpired" || got.CutOff != 1 || got.Others != 2 || arc.Mark != "in-transfer" {
		t.Errorf("%+v, %+v", got, arc)
	}
	now := metav1.NewTime(noon.Add(time.Minute))
	p.Status.Phase, r.Status.Phase, r.Status.Addresses, r.Status.CompletionTime = v1alpha1.PhaseRemoved, v1alpha1.RemovalRemoved, 16, &now
	d := Compose("here", s, NewKeys(), noon)
	want := Ended{Peer: "host2", Outcome: "16 IPs taken over from host2", Evidence: "LeaseExpired", Completed: now.UnixMilli(), KeptOut: true}
	if len(d.Removals) != 0 || !slices.Equal(d.Ended, []Ended{want}) {
		t.Errorf("%+v, %+v", d.Removals, d.Ended)
	}
	s.Removals = nil // the declaration is gone, and the Peer is still there
	if d := Compose("here", s, NewKeys(), noon); len(d.Ended) != 1 || d.Ended[0].KeptOut {
		t.Errorf("%+v", d.Ended)
	}
}

// What could not be read is said, and no list is null in a document.
func TestUnreadAndEmpty(t *testing.T) {
	s := inventory.New("selvage-system", inventory.Pools, inventory.Peers, inventory.Leases)
	s.Unread[inventory.Leases] = errors.New("forbidden")
	d := Compose("here", s, NewKeys(), noon)
	if !slices.Equal(d.Unread, []string{"leases: forbidden"}) {
		t.Errorf("unread: %q", d.Unread)
	}
	raw, err := json.Marshal(Compose("here", state(2, 2), NewKeys(), noon))
	if err != nil || strings.Contains(string(raw), "null") {
		t.Errorf("%v: %s", err, raw)
	}
}

// A letter stays with whom it was given to, and goes to another once its holder
// owns nothing.
func TestKeysStay(t *testing.T) {
	keys, s := NewKeys(), state(30, 4)
	letters := func() map[string]string {
		given := map[string]string{}
		for _, p := range Compose("here", s, keys, noon).Peers {
			if p.Key != "" {
				given[p.Name] = p.Key
			}
		}
		return given
	}
	first := letters()
	if len(first) != 26 || first["host0"] != "A" {
		t.Fatalf("%v", first)
	}
	lost := s.Ranges[0].Spec.Owner.Name
	s.Ranges = s.Ranges[1:]
	then := letters()
	if then[lost] != "" || len(then) != 26 {
		t.Errorf("%v", then)
	}
	for name, letter := range first {
		if name != lost && then[name] != letter {
			t.Errorf("%s had %s, and has %q", name, letter, then[name])
		}
	}
}

// Five thousand peers make a ring that can be drawn.
func TestManyPeers(t *testing.T) {
	d := Compose("here", state(5000, 8), NewKeys(), noon)
	p := d.Pools[0]
	if len(p.Arcs) > mostArcs || len(p.Arcs) < mostArcs/4 || p.Others != 5000-mostOwners || len(d.Peers) != 5000 {
		t.Errorf("%d arcs, %d others, %d peers", len(p.Arcs), p.Others, len(d.Peers))
	}
	raw, err := json.Marshal(d)
	if err != nil || len(raw) > 2_500_000 {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	t.Logf("5000 peers: %d bytes of JSON, %d arcs", len(raw), len(p.Arcs))
}

// A change makes of the one document the other, as the page applies it.
func TestDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) *Document {
			d := &Document{Head: Head{Cluster: rapid.SampledFrom([]string{"a", "b"}).Draw(t, what)}}
			for i := range 6 {
				if used := rapid.IntRange(0, 3).Draw(t, what); used > 0 {
					d.Peers = append(d.Peers, Peer{Name: fmt.Sprint("host", i), Used: int64(used), CIDRs: []string{fmt.Sprint(used)}})
				}
			}
			return d
		}
		from, to := draw("from"), draw("to")
		c := Diff(from, to)
		head, peers := from.Head, map[string]Peer{}
		for _, p := range from.Peers {
			peers[p.Name] = p
		}
		if c.Head != nil {
			head = *c.Head
		}
		for _, name := range c.Gone {
			delete(peers, name)
		}
		for _, p := range c.Peers {
			if before, was := peers[p.Name]; was && before.Used == p.Used {
				t.Fatalf("%s is sent, and has not changed", p.Name)
			}
			peers[p.Name] = p
		}
		if head.Cluster != to.Cluster || len(peers) != len(to.Peers) {
			t.Fatalf("%+v makes %v of %v", c, peers, to.Peers)
		}
		for _, p := range to.Peers {
			if peers[p.Name].Used != p.Used {
				t.Fatalf("%s: %+v, want %+v", p.Name, peers[p.Name], p)
			}
		}
		if same := Diff(to, to); !same.Empty() {
			t.Fatalf("nothing has changed, and %+v is sent", same)
		}
	})
}

func BenchmarkCompose5000(b *testing.B) {
	s, keys := state(5000, 8), NewKeys()
	for b.Loop() {
		Compose("here", s, keys, noon)
	}
}
