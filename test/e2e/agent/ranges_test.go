// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// An allocation makes no API call: none while the API server is stopped, and
// their number does not grow with that of the pods.
func TestRanges_AllocationMakesNoRequest(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	s.join(a)
	a.awaitPod().del()
	s.must(plane.APIServer.Signal(syscall.SIGSTOP))
	defer func() { s.must(plane.APIServer.Signal(syscall.SIGCONT)) }()
	before := a.apiRequests()
	const many = 40
	served := 0
	for range many {
		p, err := a.tryPod()
		if err != nil {
			if !strings.Contains(err.Error(), "lease ran out") {
				t.Fatal(err)
			}
			break // a slow machine: the lease ran out meanwhile
		}
		p.del()
		served++
	}
	sent := a.apiRequests() - before
	t.Logf("%d ADDs and DELs, %d requests (renewals that go unanswered, and a report of use)", served, sent)
	if served < 5 || sent > served/2+6 {
		t.Errorf("%d ADDs and DELs went with %d requests", served, sent)
	}
}

// What is asked back is promised only once nothing outside is held.
func TestRanges_GiveBack(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	p, r := s.join(a)
	host := a.hostAddress()
	var upper *pod
	for upper == nil {
		// Next-fit goes up: sooner or later one lies in the upper half.
		q := a.awaitPod()
		if q.addr.As4()[3] >= 128 {
			upper = q
		} else {
			q.del()
		}
	}
	half := strings.Replace(r.Spec.CIDR, "/24", "/25", 1)
	s.ask(r, &half)
	s.awaitCapacity(a, 127+1) // the lower half, but for the host's own; and the one held above
	for range 5 {
		if q := a.awaitPod(); q.addr.As4()[3] >= 128 {
			t.Errorf("%s was given out of what is asked back", q.addr)
		}
	}
	if sealed := s.rangeNow(r).Status.Sealed; sealed != nil {
		t.Errorf("promised %+v while %s is held", sealed, upper.addr)
	}
	upper.del()
	await.Until(t, "the promise", func() error {
		if sealed := s.rangeNow(r).Status.Sealed; sealed == nil || sealed.Keep != half || sealed.Epoch != r.Spec.Epoch {
			return fmt.Errorf("%+v", sealed)
		}
		return nil
	})
	a.kill()
	s.ask(r, nil) // taken back; the promise stands all the same
	a.start()
	a.awaitServing()
	for range 5 {
		if q := a.awaitPod(); q.addr.As4()[3] >= 128 {
			t.Errorf("%s was given out of what was promised", q.addr)
		}
	}
	s.giveAllBack(a, p, r, host)
}

// giveAllBack: a whole range goes, but not the one with the host's own address.
func (s *stage) giveAllBack(a *machine, p *v1alpha1.Peer, r *v1alpha1.AddressRange, host netip.Addr) {
	t, none := s.t, ""
	t.Helper()
	spare := s.grant(p)
	a.awaitOwns(s, spare)
	s.ask(spare, &none)
	await.Until(t, "the promise of all of it", func() error {
		if sealed := s.rangeNow(spare).Status.Sealed; sealed == nil || sealed.Keep != "" {
			return fmt.Errorf("%+v", sealed)
		}
		return nil
	})
	s.own(t.Context(), spare, nil)
	s.must(hand.Delete(t.Context(), spare))
	s.ask(r, &none)
	a.awaitServing()
	if now := a.hostAddress(); now != host {
		t.Errorf("the host's address was %s and is %s", host, now)
	}
	if sealed := s.rangeNow(r).Status.Sealed; sealed.Keep == "" {
		t.Error("the range with the host's own address was given back")
	}
}

// The host's own address survives growth and a restart, and is no pod's.
func TestRanges_HostAddress(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	a.start()
	p := s.admit(a)
	r := s.grantCIDR(p, "10.40.8.0/24")
	a.awaitOwns(s, r)
	first := a.hostAddress()
	if first != netip.MustParseAddr("10.40.8.0") {
		t.Errorf("the host's address is %s", first)
	}
	a.awaitOwns(s, s.grantCIDR(p, "10.40.4.0/24")) // which comes before it in order
	a.kill()
	a.start()
	a.awaitServing()
	if now := a.hostAddress(); now != first {
		t.Errorf("the host's address was %s and is %s", first, now)
	}
	for range 5 {
		if q := a.awaitPod(); q.addr == first {
			t.Errorf("%s is the host's and a pod's", first)
		}
	}
}

// A reserved address is withheld.
func TestRanges_ReservedIsWithheld(t *testing.T) {
	s := newStage(t)
	a := newMachine(t)
	_, r := s.join(a)
	prefix := strings.TrimSuffix(r.Name, "0")
	s.changeRange(r, func(r *v1alpha1.AddressRange) {
		for i := 1; i < 8; i++ {
			r.Spec.Reserved = append(r.Spec.Reserved, v1alpha1.Reservation{Address: fmt.Sprint(prefix, i), PodUID: "12345678"})
		}
	})
	s.awaitCapacity(a, 256-8)
	for range 3 {
		if q := a.awaitPod(); q.addr.As4()[3] < 8 {
			t.Errorf("%s is reserved", q.addr)
		}
	}
}

// links are the host's interfaces as ip shows them.
func (m *machine) links() string {
	out, _ := exec.Command("nsenter", "--net="+m.NetNS, "ip", "-d", "link").CombinedOutput()
	return string(out)
}

// hostAddress is the host's own inside the network, as the kernel has it.
func (m *machine) hostAddress() netip.Addr {
	m.t.Helper()
	var found netip.Addr
	await.Until(m.t, m.node+" to have an address of its own", func() error {
		out, err := exec.Command("nsenter", "--net="+m.NetNS, "ip", "-j", "-4", "addr", "show", "dev", "selvage0").Output()
		if err != nil {
			return err
		}
		var links []struct {
			Addresses []struct{ Local netip.Addr } `json:"addr_info"`
		}
		if err := json.Unmarshal(out, &links); err != nil {
			return err
		}
		if len(links) != 1 || len(links[0].Addresses) != 1 {
			return fmt.Errorf("%s", out)
		}
		found = links[0].Addresses[0].Local
		return nil
	})
	return found
}

// awaitCapacity waits until the agent reports so many addresses.
func (s *stage) awaitCapacity(m *machine, capacity int64) {
	s.t.Helper()
	s.awaitPeer(m.node, fmt.Sprintf("a capacity of %d", capacity), func(p *v1alpha1.Peer) bool {
		pools := p.Status.Agent.Pools
		return len(pools) == 1 && pools[0].Capacity == capacity
	})
}

// rangeNow is a range as it is.
func (s *stage) rangeNow(r *v1alpha1.AddressRange) *v1alpha1.AddressRange {
	s.t.Helper()
	var now v1alpha1.AddressRange
	s.must(hand.Get(s.t.Context(), client.ObjectKeyFromObject(r), &now))
	return &now
}

// ask asks for what is outside keep.
func (s *stage) ask(r *v1alpha1.AddressRange, keep *string) {
	s.t.Helper()
	s.changeRange(r, func(r *v1alpha1.AddressRange) { r.Spec.Keep = keep })
}
