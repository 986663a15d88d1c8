// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

func sound() *inventory.State {
	s := &inventory.State{
		Pools:  []v1alpha1.AddressPool{poolOf("default", "10.0.0.0/16")},
		Leases: map[string]coordinationv1.Lease{},
	}
	for i, name := range []string{"a", "b"} {
		s.Peers = append(s.Peers, v1alpha1.Peer{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)},
			Status:     v1alpha1.PeerStatus{Underlay: []string{fmt.Sprintf("192.0.2.%d", i)}},
		})
		holder := "uid-" + name + "/1"
		s.Leases[name] = coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
		s.Ranges = append(s.Ranges, rangeOf(fmt.Sprintf("10.0.%d.0/24", i), name))
	}
	s.Pods = []corev1.Pod{podOf("web", "a", "10.0.0.7"), podOf("db", "b", "10.0.1.7"), podOf("other", "a", "172.16.0.1")}
	return s
}

func poolOf(name, cidr string) v1alpha1.AddressPool {
	return v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.AddressPoolSpec{CIDR: cidr},
		Status: v1alpha1.AddressPoolStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue}}},
	}
}

func rangeOf(cidr, owner string) v1alpha1.AddressRange {
	return v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: inventory.Prefix(cidr).Addr().String()},
		Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: cidr, Epoch: 1,
			Owner: &v1alpha1.PeerReference{Name: owner, UID: types.UID("uid-" + owner)}},
	}
}

func podOf(name, node, address string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: address}}},
	}
}

func TestSoundStateHasNoFindings(t *testing.T) {
	if found := Audit(sound()); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// Each damage is found, under the invariant it breaks.
func TestDamage(t *testing.T) {
	seal := func(s *inventory.State, name string, phase v1alpha1.PeerPhase) {
		holder := v1alpha1.SealedHolder
		s.Leases[name] = coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
		p := s.Peer(name)
		p.Status.Phase = phase
		p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, Heir: "a"}
		p.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceAsserted, Heir: &v1alpha1.PeerReference{Name: "a", UID: "uid-a"}}
	}
	for name, c := range map[string]struct {
		damage func(*inventory.State)
		want   string // a finding's invariant and object; "~" before passing ones
	}{
		"overlap": {func(s *inventory.State) { s.Ranges = append(s.Ranges, rangeOf("10.0.1.128/25", "a")) }, "Disjoint addressrange/10.0.1.128"},
		"overlapping claim": {func(s *inventory.State) {
			r := rangeOf("10.0.1.128/25", "a")
			r.Spec.Owner, r.Spec.Epoch = nil, 0
			s.Ranges = append(s.Ranges, r)
		}, "~Disjoint addressrange/10.0.1.128"},
		"unreadable":          {func(s *inventory.State) { s.Ranges[0].Spec.CIDR = "10.0.0.0" }, "WellFormed addressrange/10.0.0.0"},
		"outside":             {func(s *inventory.State) { s.Ranges = append(s.Ranges, rangeOf("10.1.0.0/24", "a")) }, "WellFormed addressrange/10.1.0.0"},
		"other family":        {func(s *inventory.State) { s.Ranges = append(s.Ranges, rangeOf("fd00::/120", "a")) }, "WellFormed addressrange/fd00::"},
		"no pool":             {func(s *inventory.State) { s.Pools = nil }, "Disjoint addressrange/10.0.0.0"},
		"pool not accepted":   {func(s *inventory.State) { s.Pools[0].Status.Conditions = nil }, "Disjoint addressrange/10.0.0.0"},
		"pools overlap":       {func(s *inventory.State) { s.Pools = append(s.Pools, poolOf("second", "10.0.128.0/17")) }, "Disjoint addresspool/second"},
		"owner unknown":       {func(s *inventory.State) { s.Ranges[0].Spec.Owner.UID = "former" }, "NoLoss addressrange/10.0.0.0"},
		"owner's uid another": {func(s *inventory.State) { s.Ranges[0].Spec.Owner.UID = "uid-b" }, "OneHeir addressrange/10.0.0.0"},
		"epoch ahead":         {func(s *inventory.State) { s.Ranges[0].Status.ObservedEpoch = 2 }, "Monotone addressrange/10.0.0.0"},
		"removed owns":        {func(s *inventory.State) { seal(s, "b", v1alpha1.PhaseRemoved) }, "OneHeir addressrange/10.0.1.0"},
		"not to the heir": {func(s *inventory.State) {
			seal(s, "b", v1alpha1.PhaseTransferring)
			s.Ranges[1].Spec.PreviousOwner, s.Ranges[1].Spec.Owner = s.Ranges[1].Spec.Owner, nil
		}, "OneHeir addressrange/10.0.1.0"},
		"unsealed": {func(s *inventory.State) {
			held := s.Leases["b"]
			seal(s, "b", v1alpha1.PhaseTransferring)
			s.Leases["b"] = held
		}, "Fenced peer/b"},
		"no evidence": {func(s *inventory.State) {
			seal(s, "b", v1alpha1.PhaseTransferring)
			s.Peers[1].Status.Removal.Evidence = ""
		}, "OneHeir peer/b"},
		"lease gone":   {func(s *inventory.State) { seal(s, "b", v1alpha1.PhaseTransferring); delete(s.Leases, "b") }, "~Fenced peer/b"},
		"one underlay": {func(s *inventory.State) { s.Peers[1].Status.Underlay = []string{"::ffff:192.0.2.0"} }, "Fenced peer/b"},
		"bad underlay": {func(s *inventory.State) { s.Peers[1].Status.Underlay = []string{"rack7"} }, "Fenced peer/b"},
		"two holders":  {func(s *inventory.State) { s.Pods = append(s.Pods, podOf("twin", "a", "10.0.0.7")) }, "OneHolder pod/default/twin"},
		"another's":    {func(s *inventory.State) { s.Pods = append(s.Pods, podOf("lost", "a", "10.0.1.9")) }, "OneHolder pod/default/lost"},
		"nobody's":     {func(s *inventory.State) { s.Pods = append(s.Pods, podOf("lost", "a", "10.0.9.9")) }, "OneHolder pod/default/lost"},
		"stale pod":    {func(s *inventory.State) { s.Pods = append(s.Pods, podOf("stale", "gone", "10.0.0.9")) }, "~OneHolder pod/default/stale"},
		"stale twin":   {func(s *inventory.State) { s.Pods = append(s.Pods, podOf("stale", "gone", "10.0.0.7")) }, "~OneHolder pod/default/stale"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sound()
			c.damage(s)
			var got []string
			for _, f := range Audit(s) {
				mark := ""
				if f.Passing {
					mark = "~"
				}
				got = append(got, fmt.Sprintf("%s%s %s", mark, f.Invariant, f.Object))
			}
			if !slices.Contains(got, c.want) {
				t.Errorf("found %v, want %s", got, c.want)
			}
			if Broken(Audit(s)) == strings.HasPrefix(c.want, "~") {
				t.Errorf("broken: %v", Broken(Audit(s)))
			}
		})
	}
}

// A pod that was there when its peer was removed keeps a reservation, and one
// that is finished, or on the host's network, holds nothing.
func TestNoDamage(t *testing.T) {
	s := sound()
	s.Ranges[0].Spec.Reserved = []v1alpha1.Reservation{{Address: "10.0.0.9", PodUID: "uid-stay"}}
	finished, hostNetwork := podOf("finished", "a", "10.0.0.7"), podOf("host", "b", "10.0.0.7")
	finished.Status.Phase, hostNetwork.Spec.HostNetwork = corev1.PodSucceeded, true
	s.Pods = append(s.Pods, podOf("stay", "b", "10.0.0.9"), finished, hostNetwork)
	if found := Audit(s); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// Against the obvious way: compare all pairs.
func TestUnownedAgainstAllPairs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		s := &inventory.State{}
		for range random.IntN(8) {
			bits := 24 + random.IntN(9)
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))}), bits).Masked()
			r := rangeOf(p.String(), "a")
			if random.IntN(2) == 0 {
				r.Spec.Owner = nil
			}
			s.Ranges = append(s.Ranges, r)
		}
		inventory.SortRanges(s.Ranges)
		want := 0
		for i := range s.Ranges {
			for j := range i {
				a, b := s.Ranges[i].Spec, s.Ranges[j].Spec
				if (a.Owner == nil || b.Owner == nil) && inventory.Prefix(a.CIDR).Overlaps(inventory.Prefix(b.CIDR)) {
					want++
				}
			}
		}
		if got := len(unownedRules(s)); got != want {
			t.Fatalf("%d overlaps, want %d: %v", got, want, s.Ranges)
		}
	}
}

// What is not read is not judged, and is not taken for sound.
func TestUnreadIsNotSound(t *testing.T) {
	s := sound()
	s.Pods = append(s.Pods, podOf("twin", "a", "10.0.0.7"))
	s.Unread = map[inventory.Part]error{inventory.Pods: errUnread{}}
	r := Compile(s, Audit(s))
	if !r.OK || r.Invariants[1].Verdict != NotChecked || r.NotChecked[inventory.Pods] == "" || Incomplete(s) != nil {
		t.Errorf("got %+v", r)
	}
	s.Unread[inventory.Ranges] = errUnread{}
	if r := Compile(s, Audit(s)); r.Invariants[0].Verdict != NotChecked || Incomplete(s) == nil {
		t.Errorf("got %+v", r)
	}
}

type errUnread struct{}

func (errUnread) Error() string { return "forbidden" }

func TestConfirm(t *testing.T) {
	a := Finding{Disjoint, "addressrange/a", "first look", false}
	b := Finding{Disjoint, "addressrange/a", "second look", false}
	c := Finding{NoLoss, "addressrange/a", "only now", false}
	if got := Confirm([]Finding{a}, []Finding{b, c}); len(got) != 1 || got[0] != b {
		t.Errorf("got %v", got)
	}
}
