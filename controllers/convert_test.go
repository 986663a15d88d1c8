// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

func ptr[T any](v T) *T { return &v }

func genPrefix(t *rapid.T, label string) netip.Prefix {
	if rapid.Bool().Draw(t, label+" is IPv4") {
		var b [4]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, label))
		return netip.PrefixFrom(netip.AddrFrom4(b), rapid.IntRange(8, 32).Draw(t, label+" bits")).Masked()
	}
	var b [16]byte
	copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
	b[0] = 0xfd
	return netip.PrefixFrom(netip.AddrFrom16(b), rapid.IntRange(104, 128).Draw(t, label+" bits")).Masked()
}

func genRef(t *rapid.T, label string) ownership.Ref {
	if rapid.Bool().Draw(t, label+" is nobody") {
		return ownership.Ref{}
	}
	return ownership.Ref{Name: rapid.StringMatching(`[a-z]{1,8}`).Draw(t, label), UID: rapid.StringMatching(`[0-9a-f]{8}`).Draw(t, label)}
}

// What is written into an object is what is read from it again.
func TestRangeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cidr := genPrefix(t, "cidr")
		want := ownership.Range{
			Object: ownership.Object{Name: rangeName(cidr), UID: "u", Version: "7"},
			Pool:   "default", CIDR: cidr,
			Owner: genRef(t, "owner"), PreviousOwner: genRef(t, "previous"),
			Epoch: rapid.Int64Range(0, 9).Draw(t, "epoch"),
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "reserved") {
			want.Reserved = append(want.Reserved, ownership.Reservation{Address: cidr.Addr(), PodUID: fmt.Sprint(i)})
		}
		switch rapid.IntRange(0, 2).Draw(t, "keep") {
		case 1:
			want.Keep = &netip.Prefix{}
		case 2:
			want.Keep = ptr(netip.PrefixFrom(cidr.Addr(), cidr.Addr().BitLen()))
		}
		o := newRange(want.Pool, want.CIDR)
		o.UID, o.ResourceVersion = "u", "7"
		setRange(o, want)
		got, err := toRange(o)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestPeerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := ownership.Peer{
			Object:  ownership.Object{Name: "host3", UID: "u", Version: "7", Finalizer: rapid.Bool().Draw(t, "finalizer")},
			NodeUID: rapid.StringMatching(`[0-9a-f]{0,8}`).Draw(t, "node"), InstanceID: "i",
			Phase:  rapid.SampledFrom([]ownership.Phase{"", ownership.Active, ownership.Fencing, ownership.Transferring, ownership.Removed}).Draw(t, "phase"),
			Report: ownership.Report{Headroom: -1},
		}
		if rapid.Bool().Draw(t, "removal") {
			want.Removal = &ownership.Removal{
				Reason: ownership.Declared, RemovalUID: "r", Heir: rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "heir"),
				AssertDown: rapid.Bool().Draw(t, "assert"), CutOff: rapid.Bool().Draw(t, "cut"),
			}
		}
		if rapid.Bool().Draw(t, "result") {
			want.Result = &ownership.Result{Evidence: ownership.LeaseExpired, Heir: genRef(t, "heir"), Ranges: 2, Addresses: 524288}
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "underlay") {
			want.Underlay = append(want.Underlay, netip.AddrFrom4([4]byte{192, 168, 0, byte(i)}))
		}
		o := &v1alpha1.Peer{
			ObjectMeta: metav1.ObjectMeta{Name: "host3", UID: "u", ResourceVersion: "7", Finalizers: []string{"other"}},
			Spec:       v1alpha1.PeerSpec{NodeName: "host3", InstanceID: "i"},
			Status:     v1alpha1.PeerStatus{Underlay: []string{"10.0.0.1"}, Ranges: 3},
		}
		setPeer(o, want)
		setPeerStatus(o, want, metav1.Now())
		got, err := toPeer(o)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if o.Finalizers[0] != "other" || o.Status.Ranges != 3 {
			t.Fatalf("what the write is not about was changed: %+v", o)
		}
	})
}

func TestPeerStatusKeepsTheReport(t *testing.T) {
	o := &v1alpha1.Peer{Status: v1alpha1.PeerStatus{Agent: &v1alpha1.AgentReport{HostName: "host3"}}}
	setPeerStatus(o, ownership.Peer{Phase: ownership.Fencing}, metav1.Now())
	if o.Status.Agent == nil || o.Status.Agent.HostName != "host3" {
		t.Fatalf("the agent's report is gone: %+v", o.Status)
	}
}

// FencedTime is set once, with Transferring, and CompletionTime with Removed.
func TestPeerStatusTimes(t *testing.T) {
	o := &v1alpha1.Peer{}
	p := ownership.Peer{Phase: ownership.Transferring, Result: &ownership.Result{Evidence: ownership.Asserted}}
	first, second := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(2, 0))
	setPeerStatus(o, p, first)
	if r := o.Status.Removal; r.FencedTime == nil || !r.FencedTime.Equal(&first) || r.CompletionTime != nil {
		t.Fatalf("Transferring: %+v", r)
	}
	p.Phase = ownership.Removed
	setPeerStatus(o, p, second)
	if r := o.Status.Removal; !r.FencedTime.Equal(&first) || !r.CompletionTime.Equal(&second) {
		t.Fatalf("Removed: %+v", r)
	}
	setPeerStatus(o, p, metav1.NewTime(time.Unix(3, 0)))
	if r := o.Status.Removal; !r.CompletionTime.Equal(&second) {
		t.Fatalf("written again: %+v", r)
	}
}

func TestPoolPrefixLengths(t *testing.T) {
	for _, c := range []struct {
		cidr           string
		first, largest *int32
		want           [2]int
	}{
		{"10.32.0.0/12", nil, nil, [2]int{24, 20}},
		{"10.32.0.0/12", ptr[int32](14), ptr[int32](14), [2]int{14, 14}},
		{"10.32.0.0/12", ptr[int32](14), nil, [2]int{14, 14}},
		{"10.32.0.0/12", nil, ptr[int32](26), [2]int{26, 26}},
		{"10.32.0.0/22", nil, nil, [2]int{24, 22}},
		{"10.32.0.0/28", nil, nil, [2]int{28, 28}},
		{"fd00:10::/64", nil, nil, [2]int{120, 116}},
		{"fd00:10::/118", nil, nil, [2]int{120, 118}},
	} {
		p, err := toPool(&v1alpha1.AddressPool{Spec: v1alpha1.AddressPoolSpec{CIDR: c.cidr, RangePrefixLength: c.first, MaxRangePrefixLength: c.largest}})
		if err != nil || [2]int{p.First, p.Max} != c.want {
			t.Errorf("%s %v %v: got /%d up to /%d (%v), want %v", c.cidr, c.first, c.largest, p.First, p.Max, err, c.want)
		}
	}
}

func TestMalformedIsNamedAndNeverPanics(t *testing.T) {
	for _, cidr := range []string{"", "10.0.0.0", "10.0.0.1/8", "::ffff:10.0.0.0/104", "10.0.0.0/33", "fd00::1/64", "fd00::%eth0/64", "banana"} {
		if _, err := toPool(&v1alpha1.AddressPool{Spec: v1alpha1.AddressPoolSpec{CIDR: cidr}}); err == nil {
			t.Errorf("pool %q was taken", cidr)
		}
		if _, err := toRange(&v1alpha1.AddressRange{Spec: v1alpha1.AddressRangeSpec{CIDR: cidr}}); err == nil {
			t.Errorf("range %q was taken", cidr)
		}
		if _, err := toPeer(&v1alpha1.Peer{Status: v1alpha1.PeerStatus{Underlay: []string{cidr}}}); err == nil && cidr != "10.0.0.0" {
			t.Errorf("underlay %q was taken", cidr)
		}
	}
	if _, err := toPool(&v1alpha1.AddressPool{Spec: v1alpha1.AddressPoolSpec{CIDR: "10.0.0.0/8", NodeSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}},
	}}}); err == nil || !strings.Contains(err.Error(), "nodeSelector") {
		t.Errorf("a selector that cannot be read: %v", err)
	}
	if _, err := toPool(&v1alpha1.AddressPool{Spec: v1alpha1.AddressPoolSpec{CIDR: "10.0.0.0/8", RangePrefixLength: ptr[int32](4)}}); err == nil {
		t.Error("a range larger than its pool was taken")
	}
}

func TestLease(t *testing.T) {
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "peer-host3", Namespace: "selvage-system", Annotations: map[string]string{
			v1alpha1.CutOffAnnotation: "a,b", v1alpha1.TermAnnotation: "x",
		}},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr("u/r"), LeaseDurationSeconds: ptr[int32](60)},
	}
	got, ok := toLease(l)
	if !ok || got.Name != "host3" || got.Holder != "u/r" || got.Duration != time.Minute || len(got.CutOff) != 2 || got.Term != "x" {
		t.Fatalf("got %+v", got)
	}
	sealed := sealedLease(l, types.NamespacedName{}, got, []string{"c", "u@3"}, time.Minute, metav1.NowMicro())
	back, _ := toLease(sealed)
	if back.Holder != v1alpha1.SealedHolder || len(back.CutOff) != 2 || len(back.SealedFor) != 2 || back.SealedFor[1] != "u@3" {
		t.Fatalf("sealed: %+v", back)
	}
	if _, ok := toLease(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeaderLease}}); ok {
		t.Error("the leader's Lease was taken for a peer's")
	}
	made := sealedLease(nil, types.NamespacedName{Namespace: "n", Name: "peer-host9"}, ownership.Lease{}, []string{"c"}, 20*time.Second, metav1.NowMicro())
	if made.Name != "peer-host9" || made.ResourceVersion != "" || *made.Spec.LeaseDurationSeconds != 20 {
		t.Fatalf("made sealed: %+v", made)
	}
}

func TestPods(t *testing.T) {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "u", OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Controller: ptr(true)}}},
		Spec:       corev1.PodSpec{NodeName: "host3"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.32.0.7"}, {IP: "fd00::7"}, {IP: "no"}}},
	}
	got, ok := toPod(&pod)
	if !ok || !got.Daemon || len(got.Addresses) != 2 || got.Node != "host3" {
		t.Fatalf("got %+v", got)
	}
	stripped, _ := stripPod(&pod)
	again, _ := toPod(stripped.(*corev1.Pod))
	if !reflect.DeepEqual(got, again) {
		t.Fatalf("stripping changed it: %+v, was %+v", again, got)
	}
	for what, change := range map[string]func(*corev1.Pod){
		"host network": func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"succeeded":    func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"failed":       func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"no address":   func(p *corev1.Pod) { p.Status.PodIPs = nil },
	} {
		p := pod.DeepCopy()
		change(p)
		if _, ok := toPod(p); ok {
			t.Errorf("%s: it holds no address of ours", what)
		}
	}
}

func TestRangeNames(t *testing.T) {
	for cidr, want := range map[string]string{
		"10.40.0.0/13":    "10.40.0.0",
		"fd00:10::/120":   "fd00-0010-0000-0000-0000-0000-0000-0000",
		"fd00:10::ff/128": "fd00-0010-0000-0000-0000-0000-0000-00ff",
	} {
		if got := rangeName(netip.MustParsePrefix(cidr)); got != want {
			t.Errorf("%s is named %s, want %s", cidr, got, want)
		}
	}
}
