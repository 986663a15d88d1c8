// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

func aPeer(name, uid, underlay string, phase v1alpha1.PeerPhase) v1alpha1.Peer {
	return v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)},
		Status:     v1alpha1.PeerStatus{Phase: phase, Underlay: []string{underlay}},
	}
}

func aRange(uid, cidr, owner string, epoch int64) v1alpha1.AddressRange {
	r := v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: strings.Split(cidr, "/")[0], UID: types.UID(uid)},
		Spec:       v1alpha1.AddressRangeSpec{Pool: "default", CIDR: cidr, Epoch: epoch},
	}
	if owner != "" {
		r.Spec.Owner = &v1alpha1.PeerReference{Name: owner, UID: types.UID(owner)}
	}
	return r
}

// scene is a network of three: me and two others.
func scene() View {
	return View{
		Consistent: true,
		Peers:      []v1alpha1.Peer{aPeer("a", "me", "192.0.2.1", ""), aPeer("b", "b1", "192.0.2.2", ""), aPeer("c", "c1", "192.0.2.3", "")},
		Ranges: []v1alpha1.AddressRange{
			aRange("r1", "10.32.0.0/24", "me", 1), aRange("r2", "10.32.1.0/24", "b1", 1), aRange("r3", "10.32.2.0/24", "c1", 4),
		},
	}
}

// routes are what is routed, as name=ranges.
func routes(w *world) string {
	var lines []string
	for _, remote := range w.desired("a", nil, nil, Record{}).Remotes {
		line := remote.Name + "="
		for _, r := range remote.Ranges {
			line += r.String()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, " ")
}

const allRoutes = "b=10.32.1.0/24 c=10.32.2.0/24"

func fresh() *world {
	w, v := newWorld("me", nil), scene()
	w.fold(&v, 0, true, Record{})
	return w
}

func TestFold(t *testing.T) {
	w := fresh()
	if got := routes(w); got != allRoutes {
		t.Errorf("routes %s", got)
	}
	if !w.complete || w.regressed != "" || len(w.relevant) != 0 {
		t.Errorf("%+v", w)
	}
	if own := w.desired("a", nil, nil, Record{}).Own; len(own) != 1 || own[0].String() != "10.32.0.0/24" {
		t.Errorf("own %v", own)
	}
}

// A removed incarnation is cut off, reported, and never heard again, whatever
// an older view shows.
func TestFoldCutsOffForGood(t *testing.T) {
	for _, phase := range []v1alpha1.PeerPhase{v1alpha1.PhaseTransferring, v1alpha1.PhaseRemoved} {
		w, v := fresh(), scene()
		v.Peers[1].Status.Phase = phase
		w.fold(&v, 0, false, Record{})
		if got := routes(w); got != "c=10.32.2.0/24" || !slices.Equal(w.relevant, []string{"b1"}) {
			t.Errorf("%s: routes %s, cut off %v", phase, got, w.relevant)
		}
		old := scene()
		old.Consistent = false
		w.fold(&old, 0, false, Record{})
		if got := routes(w); got != "c=10.32.2.0/24" || !slices.Equal(w.relevant, []string{"b1"}) {
			t.Errorf("%s, and an older view: routes %s, cut off %v", phase, got, w.relevant)
		}
		// Its range goes to c.
		v.Ranges[1] = aRange("r2", "10.32.1.0/24", "c1", 2)
		w.fold(&v, 0, false, Record{})
		if got := routes(w); got != "c=10.32.1.0/2410.32.2.0/24" {
			t.Errorf("%s, and moved: routes %s", phase, got)
		}
		v.Peers = slices.Delete(v.Peers, 1, 2)
		w.fold(&v, 0, false, Record{})
		if len(w.relevant) != 0 {
			t.Errorf("%s, and gone: still reported: %v", phase, w.relevant)
		}
	}
	w, v := fresh(), scene()
	v.Peers[1].Status.Phase = v1alpha1.PhaseFencing
	v.Peers[1].Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared}
	w.fold(&v, 0, false, Record{})
	if got := routes(w); got != allRoutes {
		t.Errorf("Fencing: routes %s", got)
	}
}

// CRDs that are deleted by mistake: whatever vanishes is kept.
func TestFoldKeepsWhatVanishes(t *testing.T) {
	for name, change := range map[string]func(*View){
		"ranges":           func(v *View) { v.Ranges = nil },
		"peers and ranges": func(v *View) { v.Peers, v.Ranges = nil, nil },
		"others' peers":    func(v *View) { v.Peers, v.Ranges = v.Peers[:1], nil },
		"one range":        func(v *View) { v.Ranges = v.Ranges[:2] },
	} {
		w, v := fresh(), scene()
		change(&v)
		w.fold(&v, time.Hour, false, Record{})
		w.fold(&v, 2*time.Hour, false, Record{})
		if got := routes(w); got != allRoutes {
			t.Errorf("%s: routes %s", name, got)
		}
	}
	// Until the space has another owner.
	w, v := fresh(), scene()
	v.Ranges = []v1alpha1.AddressRange{aRange("new", "10.32.0.0/22", "b1", 1)}
	w.fold(&v, 0, false, Record{})
	if got := routes(w); got != "b=10.32.0.0/22 c=" {
		t.Errorf("taken: routes %s", got)
	}
	// Or until a Lease is taken: then the view alone counts.
	w, v = fresh(), scene()
	v.Peers, v.Ranges = v.Peers[:1], v.Ranges[:1]
	w.fold(&v, 0, true, Record{})
	if got := routes(w); got != "" {
		t.Errorf("strict: routes %s", got)
	}
}

// An owner that no Peer is: cut off at once before a Lease is taken, and else
// after a while in which this peer was there.
func TestFoldOrphans(t *testing.T) {
	gone := scene()
	gone.Peers = slices.Delete(gone.Peers, 1, 2)
	w := fresh()
	w.fold(&gone, 0, true, Record{})
	if !slices.Equal(w.relevant, []string{"b1"}) {
		t.Errorf("strict: %v", w.relevant)
	}
	w = fresh()
	w.fold(&gone, time.Second, false, Record{})
	if len(w.relevant) != 0 || routes(w) != allRoutes {
		t.Errorf("at first: %v, %s", w.relevant, routes(w))
	}
	w.fold(&gone, time.Second+orphanGrace, false, Record{})
	if !slices.Equal(w.relevant, []string{"b1"}) || routes(w) != "c=10.32.2.0/24" {
		t.Errorf("in the end: %v, %s", w.relevant, routes(w))
	}
	all := scene()
	all.Peers = nil
	w = fresh()
	for _, now := range []time.Duration{0, orphanGrace, time.Hour} {
		w.fold(&all, now, false, Record{})
	}
	if len(w.relevant) != 0 || routes(w) != allRoutes {
		t.Errorf("this peer is missing, too: %v, %s", w.relevant, routes(w))
	}
}

// A name or an address that another has by now.
func TestFoldReplaced(t *testing.T) {
	for name, other := range map[string]v1alpha1.Peer{
		"name": aPeer("b", "b2", "192.0.2.9", ""), "address": aPeer("d", "d1", "192.0.2.2", ""),
	} {
		w, v := fresh(), scene()
		v.Peers[1], v.Ranges = other, nil
		w.fold(&v, 0, false, Record{})
		if _, kept := w.peers["b1"]; kept {
			t.Errorf("%s: the former is kept", name)
		}
	}
}

func TestFoldRegressed(t *testing.T) {
	w, v := fresh(), scene()
	v.Ranges[2].Spec.Epoch, v.Ranges[2].Spec.Owner.UID = 3, "b1"
	cached := v
	cached.Consistent = false
	w.fold(&cached, 0, false, Record{})
	if w.regressed != "" || !w.unsettled() {
		t.Error("a cache alone settles nothing")
	}
	w.fold(&v, 0, false, Record{})
	if !strings.Contains(w.regressed, "epoch 3") || w.unsettled() {
		t.Errorf("regressed: %q", w.regressed)
	}
	if got := routes(w); got != allRoutes {
		t.Errorf("a lower epoch was acted on: %s", got)
	}
	v = scene()
	w.fold(&v, 0, false, Record{})
	if w.regressed != "" {
		t.Errorf("healed, and still %q", w.regressed)
	}

	owned := Record{Ranges: map[string]RangeRecord{"r0": {Name: "10.40.0.0", CIDR: netip.MustParsePrefix("10.40.0.0/24"), Epoch: 2, Owned: true}}}
	w.fold(&v, 0, false, owned)
	if !strings.Contains(w.regressed, "10.40.0.0") {
		t.Errorf("a missing range: %q", w.regressed)
	}
	back := owned.Ranges["r0"]
	back.GivenBack = true
	w.fold(&v, 0, false, Record{Ranges: map[string]RangeRecord{"r0": back}})
	if w.regressed != "" {
		t.Errorf("what was given back may go: %q", w.regressed)
	}
	v.Ranges = append(v.Ranges, aRange("r9", "10.40.0.0/24", "me", 1))
	w.fold(&v, 0, false, owned)
	if w.regressed != "" {
		t.Errorf("what was made anew is not missing: %q", w.regressed)
	}
}

func TestRemember(t *testing.T) {
	nobody := func(netip.Addr) bool { return false }
	w, record := fresh(), Record{}.clone()
	if got := w.ledgerRanges(record); len(got) != 0 {
		t.Errorf("allocated from before it is on disk: %+v", got)
	}
	w.remember(&record, nobody)
	if r := record.Ranges["r1"]; !r.Owned || r.Epoch != 1 || !slices.Equal(record.HostRanges, []string{"r1"}) || len(record.Ranges) != 1 {
		t.Fatalf("%+v", record)
	}
	got := w.ledgerRanges(record)
	if len(got) != 1 || got[0].Epoch != 1 || !slices.Equal(got[0].Withheld, []netip.Addr{netip.MustParseAddr("10.32.0.0")}) {
		t.Errorf("%+v", got)
	}
	// Another range, which comes before it, changes nothing about the host's.
	v := scene()
	v.Ranges = append(v.Ranges, aRange("r0", "10.31.0.0/24", "me", 1))
	w.fold(&v, 0, false, record)
	w.remember(&record, nobody)
	if !slices.Equal(record.HostRanges, []string{"r1"}) {
		t.Errorf("host ranges %v", record.HostRanges)
	}
	// The first goes to another: remembered, and not owned; the host moves.
	v.Ranges[0] = aRange("r1", "10.32.0.0/24", "b1", 2)
	w.fold(&v, 0, false, record)
	w.remember(&record, nobody)
	if r := record.Ranges["r1"]; r.Owned || r.Epoch != 2 || !slices.Equal(record.HostRanges, []string{"r0"}) {
		t.Errorf("%+v", record)
	}
	// A first address that a pod has is not the host's.
	record = Record{}.clone()
	w.remember(&record, func(a netip.Addr) bool { return a == netip.MustParseAddr("10.31.0.0") })
	if len(record.HostRanges) != 0 {
		t.Errorf("host ranges %v", record.HostRanges)
	}
}

func TestKeepAndSeal(t *testing.T) {
	w, v := fresh(), scene()
	half := "10.32.0.0/25"
	v.Ranges[0].Spec.Keep = &half
	w.fold(&v, 0, false, Record{})
	r := w.ranges["r1"]
	if r.keep == nil || r.keep.String() != half || !r.wanted() {
		t.Fatalf("%+v", r)
	}
	w.promise(r, *r.asked)
	v.Ranges[0].Spec.Keep = nil // taken back before the promise is seen
	w.fold(&v, 0, false, Record{})
	if r = w.ranges["r1"]; r.keep == nil || r.keep.String() != half {
		t.Errorf("a promise was forgotten: %+v", r)
	}
	v.Ranges[0].Status.Sealed = &v1alpha1.RangeSeal{Epoch: 1, Keep: half}
	other := newWorld("me", nil) // a later run
	other.fold(&v, 0, true, Record{})
	if r = other.ranges["r1"]; r.keep == nil || r.keep.String() != half {
		t.Errorf("an earlier run's promise was forgotten: %+v", r)
	}
	v.Ranges[0] = aRange("r1", "10.32.0.0/25", "me", 3) // shrunk, and in another epoch
	w.fold(&v, 0, false, Record{})
	if r = w.ranges["r1"]; r.keep != nil {
		t.Errorf("a new epoch does not undo it: %+v", r)
	}
}

func TestOutside(t *testing.T) {
	for _, c := range [][3]string{
		{"10.0.0.0/24", "", "10.0.0.0/24"},
		{"10.0.0.0/24", "10.0.0.0/24", ""},
		{"10.0.0.0/24", "10.0.0.0/26", "10.0.0.128/25 10.0.0.64/26"},
		{"fd00::/120", "fd00::/121", "fd00::80/121"},
	} {
		keep, _ := netip.ParsePrefix(c[1])
		var got []string
		for _, p := range outside(netip.MustParsePrefix(c[0]), keep) {
			got = append(got, p.String())
		}
		if text := strings.Join(got, " "); text != c[2] {
			t.Errorf("%s without %s: %s, want %s", c[0], c[1], text, c[2])
		}
	}
}

func TestReportPeriod(t *testing.T) {
	base := &v1alpha1.AgentReport{Version: "1", Pools: []v1alpha1.PoolUse{{Name: "p", Capacity: 100, Used: 10}}}
	for name, c := range map[string]struct {
		change func(*v1alpha1.AgentReport)
		period time.Duration
		news   bool
	}{
		"nothing":            {func(*v1alpha1.AgentReport) {}, 0, false},
		"a fence":            {func(r *v1alpha1.AgentReport) { r.Fenced = &v1alpha1.AgentFence{Generation: 2} }, 0, true},
		"a little use":       {func(r *v1alpha1.AgentReport) { r.Pools[0].Used = 11 }, usePeriod, true},
		"about to run dry":   {func(r *v1alpha1.AgentReport) { r.Pools[0].Used = 90 }, soon, true},
		"less use":           {func(r *v1alpha1.AgentReport) { r.Pools[0].Used = 1 }, usePeriod, true},
		"capacity":           {func(r *v1alpha1.AgentReport) { r.Pools[0].Capacity = 200 }, soon, true},
		"another pool":       {func(r *v1alpha1.AgentReport) { r.Pools = append(r.Pools, v1alpha1.PoolUse{Name: "q"}) }, soon, true},
		"underlay addresses": {func(r *v1alpha1.AgentReport) { r.Underlay = []string{"192.0.2.1"} }, 0, true},
	} {
		want := base.DeepCopy()
		c.change(want)
		if period, news := reportPeriod(base, want); period != c.period || news != c.news {
			t.Errorf("%s: %s %v, want %s %v", name, period, news, c.period, c.news)
		}
	}
	if _, news := reportPeriod(nil, base); !news {
		t.Error("a first report is news")
	}
	if got := reflect.TypeFor[v1alpha1.AgentReport]().NumField(); got != 11 {
		t.Errorf("AgentReport has %d fields: say here how soon the new one is to be told", got)
	}
}
