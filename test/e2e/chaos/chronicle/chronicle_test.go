// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package chronicle

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/chaos/history"
)

// teller makes changes, one a second, each put between two probes.
type teller struct {
	*testing.T
	*Chronicle
	revision int64
}

func newTeller(t *testing.T) *teller {
	return &teller{t, &Chronicle{state: newState("selvage-system")}, 0}
}

func (t *teller) put(key string, object any) {
	t.Helper()
	var value []byte
	if object != nil {
		var err error
		if value, err = json.Marshal(object); err != nil {
			t.Fatal(err)
		}
	}
	t.revision++
	now := time.Duration(t.revision) * time.Second
	if err := t.state.apply(prefix+key, value, t.revision); err != nil {
		t.Fatal(err)
	}
	t.judge(t.revision, now)
	// Known at half past; the next revision is not there a moment later.
	t.probes = append(t.probes, probe{now + 400*time.Millisecond, now + 500*time.Millisecond, t.revision})
}

func pool() *v1alpha1.AddressPool {
	return &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.AddressPoolSpec{CIDR: "10.0.0.0/16"},
		Status: v1alpha1.AddressPoolStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue}}}}
}

func peer(name string, phase v1alpha1.PeerPhase) *v1alpha1.Peer {
	p := &v1alpha1.Peer{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("u" + name)}, Status: v1alpha1.PeerStatus{Phase: phase}}
	if phase != v1alpha1.PhaseActive {
		p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, Heir: "b"}
		p.Status.Removal = &v1alpha1.PeerRemovalResult{Evidence: v1alpha1.EvidenceAsserted, Heir: &v1alpha1.PeerReference{Name: "b", UID: "ub"}}
	}
	return p
}

func lease(holder string) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
}

func owned(cidr, owner string, epoch int64, previous string) *v1alpha1.AddressRange {
	name, _, _ := strings.Cut(cidr, "/")
	r := &v1alpha1.AddressRange{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("r" + name)},
		Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: cidr, Epoch: epoch}}
	if owner != "" {
		r.Spec.Owner = &v1alpha1.PeerReference{Name: owner, UID: types.UID("u" + owner)}
	}
	if previous != "" {
		r.Spec.PreviousOwner = &v1alpha1.PeerReference{Name: previous, UID: types.UID("u" + previous)}
	}
	return r
}

// story is a removal as it should be: a's range goes to b.
func (t *teller) story() {
	t.put(group+"addresspools/default", pool())
	t.put(group+"peers/a", peer("a", v1alpha1.PhaseActive))
	t.put(group+"peers/b", peer("b", v1alpha1.PhaseActive))
	t.put("leases/selvage-system/peer-a", lease("ua/1"))
	t.put("leases/selvage-system/peer-b", lease("ub/1"))
	t.put(group+"addressranges/10.0.0.0", owned("10.0.0.0/24", "", 0, ""))
	t.put(group+"addressranges/10.0.0.0", owned("10.0.0.0/24", "a", 1, "")) // 7
	fencing := peer("a", v1alpha1.PhaseFencing)
	fencing.Status.Removal = nil
	t.put(group+"peers/a", fencing)
	t.put("leases/selvage-system/peer-a", lease(v1alpha1.SealedHolder)) // 9
	t.put(group+"peers/a", peer("a", v1alpha1.PhaseTransferring))
	t.put(group+"addressranges/10.0.0.0", owned("10.0.0.0/24", "b", 2, "a")) // 11
	t.put(group+"peers/a", peer("a", v1alpha1.PhaseRemoved))
	t.put(group+"peers/a", nil)
}

func seconds(call, back float64) history.Span {
	return history.Span{Call: time.Duration(call * float64(time.Second)), Return: time.Duration(back * float64(time.Second))}
}

// What is right is not accused, and what happened is put between two times.
func TestChronicle(tt *testing.T) {
	t := newTeller(tt)
	t.story()
	if len(t.findings) > 0 {
		t.Errorf("found %v", t.findings)
	}
	if got := t.tallies; got.Total() != 1 || got.Removed["Declared, Asserted"] != 1 || got.Moves != 2 {
		t.Errorf("%+v", got)
	}
	losses := t.Losses()
	if len(losses) != 1 || losses[0].Host != "a" || losses[0].Span != seconds(10.4, 11) {
		t.Errorf("%+v", losses)
	}
	address := netip.MustParseAddr("10.0.0.7")
	for _, c := range []struct {
		host       string
		during     history.Span
		reachable  bool
		mayOwn     bool
		whatItsFor string
	}{
		{"a", seconds(3, 3.1), false, false, "before anything"},
		{"a", seconds(7.1, 8), true, true, "in the middle"},
		{"a", seconds(3.5, 8), false, true, "begun before it had a lease"},
		{"a", seconds(8, 8.5), false, true, "the seal may have been made then"},
		{"a", seconds(10.9, 12), false, true, "the range may have moved only then"},
		{"a", seconds(11.1, 12), false, false, "after all"},
		{"b", seconds(5.1, 9), true, false, "before it inherits"},
		{"b", seconds(10.5, 10.6), true, true, "it may have inherited by then"},
		{"b", seconds(12, 99), true, true, "for ever"},
		{"c", seconds(0, 99), false, false, "nobody"},
	} {
		if got := t.Reachable(c.host, c.during); got != c.reachable {
			t.Errorf("%s, %s: reachable %t", c.host, c.whatItsFor, got)
		}
		if got := t.MayOwn(c.host, address, c.during); got != c.mayOwn {
			t.Errorf("%s, %s: may own %t", c.host, c.whatItsFor, got)
		}
	}
}

// Each of these must be found, by the name of the invariant it breaks.
func TestChronicle_Findings(tt *testing.T) {
	for name, c := range map[string]struct {
		key    string
		object any
		want   string
	}{
		"overlap":           {group + "addressranges/10.0.0.128", owned("10.0.0.128/25", "b", 1, ""), "Disjoint"},
		"epoch kept":        {group + "addressranges/10.0.0.0", owned("10.0.0.0/24", "", 2, "b"), "Monotone"},
		"taken from a peer": {group + "addressranges/10.0.0.0", owned("10.0.0.0/24", "", 3, "b"), "Fenced"},
		"deleted":           {group + "addressranges/10.0.0.0", nil, "NoLoss"},
		"an owner unknown":  {group + "addressranges/10.0.0.0", owned("10.0.0.0/24", "z", 3, "b"), "NoLoss"},
	} {
		t := newTeller(tt)
		t.story()
		t.put(c.key, c.object)
		found := ""
		for _, f := range t.findings {
			found += f.String() + "; "
		}
		if !strings.Contains(found, c.want) {
			t.Errorf("%s: found %q, want %s", name, found, c.want)
		}
	}
}
