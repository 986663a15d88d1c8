// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// FuzzParsePrefix: what is taken is canonical, and what is not says what it is.
func FuzzParsePrefix(f *testing.F) {
	for _, seed := range []string{"10.32.0.0/12", "10.32.0.1/12", "fd00:10::/64", "::ffff:10.0.0.0/104", "10.0.0.0", "", "fe80::%eth0/64", "010.0.0.0/8", "0.0.0.0/0", "10.0.0.0/ 8"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePrefix(text)
		if err != nil {
			if !strings.Contains(err.Error(), "CIDR") && !strings.Contains(err.Error(), "host bits") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if p != p.Masked() || p.Addr().Zone() != "" || p.Addr().Is4In6() || !p.IsValid() {
			t.Errorf("%q was taken as %s", text, p)
		}
		if again, err := parsePrefix(p.String()); err != nil || again != p {
			t.Errorf("%s is %s the second time (%v)", p, again, err)
		}
		if name := rangeName(p); len(name) > 63 || strings.ContainsAny(name, ":/%") {
			t.Errorf("%s is named %q", p, name)
		}
	})
}

// fuzzedObjects are small, and of all kinds.
func fuzzedObjects() Objects {
	p, l, r := servingPeer("host1")
	p.Spec.Removal = &v1alpha1.PeerRemovalRecord{Reason: v1alpha1.ReasonDeclared, RemovalUID: "r-1", Heir: "host1"}
	p.UID, l.UID, r.UID = "u-1", "l-1", "a-1"
	r.Spec.Reserved = []v1alpha1.Reservation{{Address: "10.32.0.9", PodUID: "pod"}}
	r.Spec.Keep, r.Status.Sealed = ptr("10.32.0.0/15"), &v1alpha1.RangeSeal{Epoch: 1, Keep: ""}
	return Objects{
		Pools: []v1alpha1.AddressPool{*poolOf("default", "10.32.0.0/12", v1alpha1.ConditionClaimed, v1alpha1.ConditionAccepted)},
		Peers: []v1alpha1.Peer{*p}, Ranges: []v1alpha1.AddressRange{*r}, Leases: []coordinationv1.Lease{*l},
		Removals: []v1alpha1.PeerRemoval{{ObjectMeta: metav1.ObjectMeta{Name: "host1", UID: "r-1"}}},
	}
}

// FuzzObjects: whatever objects say, they are read or named as malformed; a
// decision on them neither panics nor claims what is not free.
func FuzzObjects(f *testing.F) {
	seed, err := json.Marshal(fuzzedObjects())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"Pools":[{"spec":{"cidr":"fd00::/104","rangePrefixLength":200,"maxRangePrefixLength":-1}}]}`))
	f.Add([]byte(`{"Ranges":[{"metadata":{"name":"x"},"spec":{"cidr":"10.0.0.0/33","epoch":-1}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var o Objects
		if json.Unmarshal(data, &o) != nil {
			return
		}
		s, malformed := Convert(o)
		for _, m := range malformed {
			if m.Kind == "" || m.Err == nil || !strings.Contains(m.Err.Error(), ":") {
				t.Errorf("%s %q: %v", m.Kind, m.Name, m.Err)
			}
		}
		for _, r := range s.Ranges {
			if !r.CIDR.IsValid() || r.CIDR != r.CIDR.Masked() {
				t.Errorf("a range %s", r.CIDR)
			}
		}
		for _, p := range s.Pools {
			if !p.CIDR.IsValid() || p.CIDR.Bits() > p.Max || p.Max > p.First || p.First > p.CIDR.Addr().BitLen() {
				t.Errorf("a pool %s of /%d to /%d", p.CIDR, p.First, p.Max)
			}
		}
		decideOn(t, s)
	})
}

// decideOn decides twice, with an hour in between.
func decideOn(t *testing.T, s ownership.Snapshot) {
	s.Consistent, s.PodsListed = true, map[string]bool{}
	_ = ownership.Check(&s)
	m := ownership.NewMemory()
	for _, now := range []time.Duration{time.Hour, 2 * time.Hour} {
		m.Observe(&s, now)
		d := ownership.Decide(&s, m, now, ownership.Config{GracePeriod: time.Minute, MaxRemovals: 1})
		for _, w := range d.Writes {
			if w.Subject() == "" || w.String() == "" {
				t.Errorf("a write without words: %#v", w)
			}
			claim, ok := w.(ownership.CreateRange)
			if !ok {
				continue
			}
			for _, r := range s.Ranges {
				if r.CIDR.Overlaps(claim.CIDR) {
					t.Errorf("%s is claimed, and %s is there", claim.CIDR, r.CIDR)
				}
			}
			if !inSomePool(s.Pools, claim.CIDR) {
				t.Errorf("%s is claimed, and is in no accepted pool", claim.CIDR)
			}
		}
	}
}

func inSomePool(pools []ownership.Pool, claim netip.Prefix) bool {
	for _, p := range pools {
		if p.Accepted && p.CIDR.Bits() <= claim.Bits() && p.CIDR.Contains(claim.Addr()) {
			return true
		}
	}
	return false
}
