// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/atlas"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

var wide = Canvas{Width: 80, Rows: 8, Owners: 10}

func poolOf(name, cidr string) v1alpha1.AddressPool {
	return v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.AddressPoolSpec{CIDR: cidr},
		Status: v1alpha1.AddressPoolStatus{Conditions: []metav1.Condition{condition(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Accepted", "")}},
	}
}

// everything is a pool with a range in each state there is, and one of IPv6.
func everything() *inventory.State {
	s := burning(v1alpha1.PhaseFencing, leaseWait, false)
	s.Peers = append(s.Peers, peerOf("host4"), peerOf("host5"))
	s.Leases["host4"], s.Leases["host5"] = leaseHeld("uid-host4/1", ""), leaseHeld("uid-host5/1", "")
	s.Peers[4].Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonLeaving, Heir: "host1"}
	s.Peers[4].Status.Phase = v1alpha1.PhaseTransferring
	fenced := ago(time.Minute)
	s.Peers[4].Status.Removal = &v1alpha1.PeerRemovalResult{
		Evidence: v1alpha1.EvidenceAgentAcknowledged, FencedTime: &fenced, Heir: &v1alpha1.PeerReference{Name: "host1", UID: "uid-host1"},
	}
	s.Peers[4].Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, "Waiting", "waiting for the others")}
	s.Leases["host2"] = leaseHeld(v1alpha1.SealedHolder, "")
	s.Pools = []v1alpha1.AddressPool{poolOf("default", "10.99.0.0/20"), poolOf("six", "fd00:10::/64")}
	of := func(cidr, owner string, used int64, change func(*v1alpha1.AddressRange)) {
		r := rangeOf(cidr, owner, used)
		if strings.Contains(cidr, ":") {
			r.Spec.Pool = "six"
		}
		if change != nil {
			change(&r)
		}
		s.Ranges = append(s.Ranges, r)
	}
	keep := "10.99.5.0/25"
	s.Ranges = nil
	of("10.99.0.0/24", "host1", 128, nil)
	of("10.99.1.0/24", "host1", 255, func(r *v1alpha1.AddressRange) {
		r.Spec.Epoch, r.Spec.PreviousOwner = 2, &v1alpha1.PeerReference{Name: "host9", UID: "uid-host9"}
	})
	of("10.99.2.0/24", "host2", 28, nil)
	of("10.99.3.0/24", "host3", 20, nil)
	of("10.99.4.0/24", "host4", 0, func(r *v1alpha1.AddressRange) { r.Spec.Keep = &keep })
	of("10.99.5.0/24", "host4", 7, func(r *v1alpha1.AddressRange) {
		r.Spec.Keep, r.Status.Sealed = &keep, &v1alpha1.RangeSeal{Epoch: 1, Keep: keep}
	})
	of("10.99.6.0/23", "host5", 1, nil)
	of("10.99.8.0/24", "", 0, nil)
	of("10.99.9.0/24", "", 77, func(r *v1alpha1.AddressRange) {
		r.Spec.Epoch, r.Spec.Reserved = 4, []v1alpha1.Reservation{{Address: "10.99.9.1", PodUID: "p"}}
	})
	of("10.99.10.0/24", "host3", 1, func(r *v1alpha1.AddressRange) { r.Spec.Owner.UID = "uid-former" })
	of("10.99.11.0/24", "host1", 0, nil)
	of("fd00:10::/120", "host1", 250, nil)
	of("fd00:10::300/120", "host4", 0, nil)
	return s
}

func TestMap(t *testing.T) {
	blind := everything()
	blind.Unread = map[inventory.Part]error{inventory.Leases: errors.New("leases is forbidden")}
	for name, c := range map[string]struct {
		state *inventory.State
		on    Canvas
	}{
		"map":          {burning(v1alpha1.PhaseFencing, leaseWait, false), wide},
		"map-all":      {everything(), wide},
		"map-narrow":   {everything(), Canvas{Width: 10, Rows: 1, Owners: 1}},
		"map-wide":     {everything(), Canvas{Width: 200, Rows: 4, Owners: 10}},
		"map-blind":    {blind, wide},
		"map-empty":    {&inventory.State{}, wide},
		"map-unused":   {&inventory.State{Pools: []v1alpha1.AddressPool{poolOf("default", "10.32.0.0/12")}}, wide},
		"map-thousand": {crowd(1000), wide},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, func(p *Page) error { return p.Map(Chart(c.state), c.on) })
		})
	}
}

// A grid is never wider than the terminal, unless that is narrower than a
// grid can be.
func TestMapFitsTheTerminal(t *testing.T) {
	for _, s := range []*inventory.State{everything(), crowd(300)} {
		for width := 28; width < 200; width += 7 {
			var b bytes.Buffer
			p := &Page{Writer: &b, Now: now}
			for _, pool := range Chart(s).Pools {
				if err := p.grid(&pool, Canvas{Width: width, Rows: 8, Owners: 10}); err != nil {
					t.Fatal(err)
				}
			}
			for line := range strings.Lines(b.String()) {
				if utf8.RuneCountInString(line) > max(width, 60)+1 {
					t.Errorf("width %d: a line of %d: %s", width, utf8.RuneCountInString(line), line)
				}
			}
		}
	}
}

// Without its colours, a map says the same.
func TestMapColours(t *testing.T) {
	draw := func(colour bool) string {
		var b bytes.Buffer
		if err := (&Page{Writer: &b, Colour: colour, Now: now}).Map(Chart(everything()), wide); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	coloured := draw(true)
	if !strings.Contains(coloured, escapes[Bad]) || !strings.Contains(coloured, escapes[hues[0]]) {
		t.Error("no colours where there should be")
	}
	for _, e := range append(escapes[1:], "\x1b[0m") {
		coloured = strings.ReplaceAll(coloured, e, "")
	}
	trim := func(s string) string {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		return strings.Join(lines, "\n")
	}
	if got, want := trim(coloured), trim(draw(false)); got != want {
		t.Errorf("with colours taken out:\n%s\nwithout colours:\n%s", got, want)
	}
}

// What is marked in the grid is told below it, and the other way round.
func TestEveryMarkHasASign(t *testing.T) {
	for _, m := range atlas.Marks()[1:] {
		if glyphs[m].Text == "" || words[m] == "" {
			t.Errorf("%s: %q %q", m, glyphs[m].Text, words[m])
		}
	}
}

// crowd is a pool of n peers, each with a range, of which some are on the move.
func crowd(n int) *inventory.State {
	s := &inventory.State{Pools: []v1alpha1.AddressPool{poolOf("default", "10.0.0.0/8")}, Leases: map[string]coordinationv1.Lease{}}
	first := netip.MustParseAddr("10.0.0.0").As4()
	for i := range n {
		name := fmt.Sprintf("host%04d", i)
		p := peerOf(name)
		p.UID = types.UID("uid-" + name)
		s.Leases[name] = leaseHeld("uid-"+name+"/1", "")
		a := first
		a[1], a[2] = byte(i>>8), byte(i)
		r := rangeOf(netip.PrefixFrom(netip.AddrFrom4(a), 24).String(), name, int64(i%256))
		switch {
		case i%97 == 1:
			p.Status.Phase, p.Spec.Removal = v1alpha1.PhaseFencing, &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonNodeGone}
			p.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, "Waiting", leaseWait)}
		case i%101 == 1:
			delete(s.Leases, name)
		}
		s.Peers, s.Ranges = append(s.Peers, p), append(s.Ranges, r)
	}
	return s
}

// Five thousand peers are drawn in much less than the second between two
// drawings of --watch.
func BenchmarkMap5000(b *testing.B) {
	s := crowd(5000)
	b.ReportAllocs()
	for b.Loop() {
		if err := (&Page{Writer: io.Discard, Colour: true, Now: time.Now()}).Map(Chart(s), wide); err != nil {
			b.Fatal(err)
		}
	}
}

// Nor does it take longer to say anything of a fifth of them being removed,
// each of which every other has cut off.
func BenchmarkMap1000Removals(b *testing.B) {
	s := crowd(5000)
	var uids []string
	for i := range s.Peers {
		if p := &s.Peers[i]; i%5 == 0 {
			p.Status.Phase, p.Spec.Removal = v1alpha1.PhaseFencing, &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonNodeGone}
			uids = append(uids, string(p.UID))
		}
	}
	for name, lease := range s.Leases {
		lease.Annotations = map[string]string{v1alpha1.CutOffAnnotation: strings.Join(uids, ",")}
		s.Leases[name] = lease
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := (&Page{Writer: io.Discard, Colour: true, Now: time.Now()}).Map(Chart(s), wide); err != nil {
			b.Fatal(err)
		}
	}
}

// Peers are listed without looking at all ranges for each of them.
func BenchmarkPeers5000(b *testing.B) {
	s := crowd(5000)
	b.ReportAllocs()
	for b.Loop() {
		if err := (&Page{Writer: io.Discard, Now: time.Now()}).Peers(s, s.Peers, true); err != nil {
			b.Fatal(err)
		}
	}
}
