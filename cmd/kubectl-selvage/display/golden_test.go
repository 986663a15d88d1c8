// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

var rewrite = flag.Bool("rewrite", false, "accept what is shown as golden")

var now = time.Date(2026, 11, 23, 3, 13, 0, 0, time.UTC)

func golden(t *testing.T, name string, show func(*Page) error) {
	t.Helper()
	var got bytes.Buffer
	if err := show(&Page{Writer: &got, Now: now}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".txt")
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\n(go test ./cmd/kubectl-selvage/display -rewrite accepts it)", path, &got, want)
	}
}

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: ago(time.Minute)}
}

func peerOf(name string) v1alpha1.Peer {
	return v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), CreationTimestamp: ago(41 * 24 * time.Hour)},
		Spec:       v1alpha1.PeerSpec{NodeName: name, InstanceID: "instance-of-" + name},
		Status: v1alpha1.PeerStatus{
			Phase: v1alpha1.PhaseActive, Underlay: []string{"192.168.77.1" + name[4:]},
			Agent:      &v1alpha1.AgentReport{Version: "v0.1.0", HostName: name + ".rack7"},
			Conditions: []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionTrue, "Serving", "")},
		},
	}
}

func rangeOf(cidr, owner string, used int64) v1alpha1.AddressRange {
	p := inventory.Prefix(cidr)
	r := v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: p.Addr().String()},
		Spec:       v1alpha1.AddressRangeSpec{Pool: "default", CIDR: cidr},
		Status:     v1alpha1.AddressRangeStatus{Used: used},
	}
	if owner != "" {
		r.Spec.Epoch, r.Spec.Owner = 1, &v1alpha1.PeerReference{Name: owner, UID: types.UID("uid-" + owner)}
	}
	return r
}

func leaseHeld(holder, cutOff string) coordinationv1.Lease {
	renewed := metav1.NewMicroTime(now.Add(-10 * time.Second))
	return coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.CutOffAnnotation: cutOff}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed},
	}
}

// story is the cluster of the story before the fire.
func story() *inventory.State {
	leader := leaseHeld("selvage-controller-0", "")
	return &inventory.State{
		Namespace: "selvage-system",
		Pools: []v1alpha1.AddressPool{{
			ObjectMeta: metav1.ObjectMeta{Name: "default"},
			Spec:       v1alpha1.AddressPoolSpec{CIDR: "10.32.0.0/12"},
			Status: v1alpha1.AddressPoolStatus{
				Addresses:  &v1alpha1.AddressCounts{Total: "1048576", Assigned: "1048576", Used: "89", Reserved: "0", Free: "0"},
				Conditions: []metav1.Condition{condition(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted", ""), condition(v1alpha1.ConditionReady, metav1.ConditionTrue, "Dividing", "")},
			},
		}},
		Peers: []v1alpha1.Peer{peerOf("host1"), peerOf("host2"), peerOf("host3")},
		Ranges: []v1alpha1.AddressRange{
			rangeOf("10.32.0.0/14", "host1", 31), rangeOf("10.36.0.0/14", "host2", 28),
			rangeOf("10.40.0.0/14", "host3", 20), rangeOf("10.44.0.0/14", "host3", 10),
		},
		Leases: map[string]coordinationv1.Lease{
			"host1": leaseHeld("uid-host1/1", ""), "host2": leaseHeld("uid-host2/1", ""), "host3": leaseHeld("uid-host3/1", ""),
		},
		Leader: &leader,
	}
}

// burning is the story with host3's removal in the given phase.
func burning(phase v1alpha1.PeerPhase, message string, stalled bool) *inventory.State {
	s := story()
	p := &s.Peers[2]
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, Heir: "host1"}
	p.Status.Phase = phase
	p.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionFalse, "Waiting", message)}
	r := v1alpha1.PeerRemoval{
		ObjectMeta: metav1.ObjectMeta{Name: "host3", CreationTimestamp: ago(3 * time.Minute)},
		Spec:       v1alpha1.PeerRemovalSpec{Heir: "host1", InstanceID: p.Spec.InstanceID},
		Status:     v1alpha1.PeerRemovalStatus{Phase: v1alpha1.RemovalPhase(phase), PeerUID: p.UID},
	}
	kind := v1alpha1.ConditionReconciling
	if stalled {
		kind = v1alpha1.ConditionStalled
	}
	r.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionFalse, "Waiting", message), condition(kind, metav1.ConditionTrue, "Waiting", message)}
	if inventory.Gone(phase) {
		done := ago(16 * time.Second)
		p.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceLeaseExpired, Heir: &v1alpha1.PeerReference{Name: "host1", UID: "uid-host1"}, Addresses: 524288, Ranges: 2, CompletionTime: &done}
		s.Leases["host3"] = leaseHeld(v1alpha1.SealedHolder, "")
		s.Leases["host1"] = leaseHeld("uid-host1/1", "uid-host3")
	}
	s.Removals = []v1alpha1.PeerRemoval{r}
	return s
}

const leaseWait = "waiting for host3's lease to run out (48s left), or proof that it is down"

func TestOverview(t *testing.T) {
	held := story()
	held.Pools[0].Status.Conditions = append(held.Pools[0].Status.Conditions,
		condition(v1alpha1.ConditionRemovalsHeld, metav1.ConditionTrue, "TooManyAtOnce", "too many nodes vanished at once"))
	held.Peers[1].Status.Agent.Suspended = "StateRegressed: the record says epoch 3 of 10.36.0.0, and 4 was seen"
	held.Peers[1].Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionFalse, "Suspended", "suspended")}
	held.Leases["host3"] = leaseHeld(v1alpha1.SealedHolder, "")
	silent := metav1.NewMicroTime(now.Add(-time.Hour))
	held.Leader.Spec.RenewTime = &silent

	blind := &inventory.State{Namespace: "selvage-system", Peers: story().Peers, Unread: map[inventory.Part]error{
		inventory.Leases: errors.New("leases is forbidden"), inventory.Pools: errors.New("addresspools is forbidden"),
	}}
	vanished := burning(v1alpha1.PhaseFencing, "waiting for its lease to run out", false)
	vanished.Removals = nil
	vanished.Peers[2].Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonNodeGone}
	declared := burning(v1alpha1.PhaseActive, "", false)
	declared.Peers, declared.Removals[0].Status = story().Peers, v1alpha1.PeerRemovalStatus{}

	for name, s := range map[string]*inventory.State{
		"overview-well":         story(),
		"overview-empty":        {Namespace: "selvage-system"},
		"overview-declared":     declared,
		"overview-fencing":      burning(v1alpha1.PhaseFencing, leaseWait, false),
		"overview-stalled":      burning(v1alpha1.PhaseFencing, "heir host1 is not Ready: its lease was sealed; start its agent, or cancel and name another heir", true),
		"overview-transferring": burning(v1alpha1.PhaseTransferring, "", false),
		"overview-removed":      burning(v1alpha1.PhaseRemoved, "", false),
		"overview-attention":    held,
		"overview-blind":        blind,
		"overview-vanished":     vanished,
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, func(p *Page) error { return p.Overview(Summarise(s, now)) })
		})
	}
}

func TestPeers(t *testing.T) {
	s := burning(v1alpha1.PhaseFencing, leaseWait, false)
	delete(s.Leases, "host2")
	golden(t, "peers", func(p *Page) error { return p.Peers(s, s.Peers, false) })
	golden(t, "peers-wide", func(p *Page) error { return p.Peers(s, s.Peers, true) })
	golden(t, "peers-no-headers", func(p *Page) error {
		p.NoHeaders = true
		return p.Peers(s, s.Peers, false)
	})
}

func TestIPAM(t *testing.T) {
	s := story()
	s.Pools = append(s.Pools, v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "six"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "fd00:10::/64"}})
	six := rangeOf("fd00:10::/120", "host1", 3)
	six.Spec.Pool = "six"
	claim := rangeOf("fd00:10::100/120", "", 0)
	claim.Spec.Pool = "six"
	returned := rangeOf("fd00:10::200/120", "", 0)
	returned.Spec.Pool, returned.Spec.Epoch = "six", 4
	returned.Spec.Reserved = []v1alpha1.Reservation{{Address: "fd00:10::201", PodUID: "p"}}
	orphan := rangeOf("fd00:10::300/120", "host3", 1)
	orphan.Spec.Pool, orphan.Spec.Owner.UID = "six", "uid-former"
	s.Ranges = append(s.Ranges, six, claim, returned, orphan)
	s.Leases["host2"] = leaseHeld(v1alpha1.SealedHolder, "")
	golden(t, "ipam", func(p *Page) error { return p.IPAM(Shares(s), false) })
	golden(t, "ipam-wide", func(p *Page) error { return p.IPAM(Shares(s), true) })
	golden(t, "ipam-empty", func(p *Page) error { return p.IPAM(Shares(&inventory.State{}), false) })
}

func TestSentences(t *testing.T) {
	done, long := ago(16*time.Second), ago(50*time.Hour)
	for want, r := range map[string]inventory.Removal{
		"host3 has been removed already: host1 took over 524288 IPs at 03:12:44Z":                   {Phase: v1alpha1.RemovalRemoved, Heir: "host1", Addresses: 524288, Completed: &done},
		"host3 has been removed already: host1 took over 524288 IPs at 2026-11-21T01:13:00Z":        {Phase: v1alpha1.RemovalRemoved, Heir: "host1", Addresses: 524288, Completed: &long},
		"host3 has been removed already: its 256 IPs went back to their pools at 03:12:44Z":         {Phase: v1alpha1.RemovalRemoved, Addresses: 256, Completed: &done},
		"host3 has been removed already: it never joined, and is kept out":                          {Phase: v1alpha1.RemovalRemoved, Evidence: v1alpha1.EvidenceNeverJoined},
		"host3 is being removed already (Fencing), and host1 is its heir":                           {Phase: v1alpha1.RemovalFencing, Heir: "host1"},
		"host3 is being removed already (Pending), without an heir: its IPs go back to their pools": {Phase: v1alpha1.RemovalPending},
	} {
		r.Peer = "host3"
		if got := Already(&r, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	r := inventory.Removal{Peer: "host3", Phase: v1alpha1.RemovalRemoved, Heir: "host1", Addresses: 524288}
	if got, want := Outcome(&r), "524288 IPs taken over from host3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r = inventory.Removal{Peer: "host3", Phase: v1alpha1.RemovalTransferring, Fence: inventory.Fence{Known: true, Sealed: true, CutOffBy: []string{"host1", "host2"}}}
	if got, want := Progress(&r), "fencing host3 … lease sealed; cut off by 2 of 2 peers"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Names and messages come from the cluster: they do not drive the terminal.
func TestControlCharactersAreShown(t *testing.T) {
	var b bytes.Buffer
	p := &Page{Writer: &b, Colour: true, Now: now}
	if err := p.Table(Table{Rows: [][]Cell{{{"a\x1b[2Jb", Bad}, {"c", Plain}}}}); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[31ma^[[2Jb\x1b[0m   c\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
