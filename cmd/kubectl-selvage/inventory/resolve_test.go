// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

func peer(name, host string, underlay ...string) v1alpha1.Peer {
	return v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)},
		Status:     v1alpha1.PeerStatus{Underlay: underlay, Agent: &v1alpha1.AgentReport{HostName: host}},
	}
}

func owned(name, cidr, owner string) v1alpha1.AddressRange {
	return v1alpha1.AddressRange{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.AddressRangeSpec{Pool: "default", CIDR: cidr, Epoch: 1,
			Owner: &v1alpha1.PeerReference{Name: owner, UID: types.UID("uid-" + owner)}},
	}
}

func threeHosts() *State {
	return &State{
		Peers: []v1alpha1.Peer{
			peer("host1", "web.example", "192.168.77.11", "fd77::11"),
			peer("host2", "db.example", "192.168.77.12"),
			peer("host3", "db.example", "192.168.77.13"),
			peer("db", "other", "::ffff:192.168.77.14"),
		},
		Ranges: []v1alpha1.AddressRange{
			owned("10.32.0.0", "10.32.0.0/14", "host1"),
			owned("fd00-0010-0000-0000-0000-0000-0000-0000", "fd00:10::/120", "host2"),
			owned("192.168.77.12", "192.168.77.12/31", "host1"), // a pool that covers the underlay
		},
	}
}

func TestResolve(t *testing.T) {
	s := threeHosts()
	for name, want := range map[string]string{
		"host1":                    "host1",
		"peer/host1":               "host1",
		"peers.net.selvage.dev/db": "db",
		"peerremoval/host3":        "host3",
		"WEB.example":              "host1",
		"192.168.77.11":            "host1",
		"::ffff:192.168.77.11":     "host1",
		"fd77:0::11":               "host1",
		"192.168.77.14":            "db",
		"10.33.1.2":                "host1",
		"fd00:10::7":               "host2",
	} {
		p, err := s.Resolve(name)
		if err != nil || p.Name != want {
			t.Errorf("Resolve(%q) = %v, %v; want %s", name, p, err, want)
		}
	}
}

func TestResolveRefusesWhatIsAmbiguous(t *testing.T) {
	s := threeHosts()
	for name, candidates := range map[string][]string{
		"db.example":    {"peer/host2 (host name)", "peer/host3 (host name)"},
		"192.168.77.12": {"peer/host1 (address in range 192.168.77.12/31)", "peer/host2 (underlay address)"},
	} {
		_, err := s.Resolve(name)
		var ambiguous *AmbiguousError
		if !errors.As(err, &ambiguous) {
			t.Errorf("Resolve(%q): %v, want an AmbiguousError", name, err)
			continue
		}
		for _, c := range candidates {
			if !strings.Contains(err.Error(), c) {
				t.Errorf("Resolve(%q) does not name %s: %v", name, c, err)
			}
		}
	}
	// A peer's name that is also another's host name is ambiguous, and can be
	// said unambiguously.
	s.Peers[0].Status.Agent.HostName = "db"
	if _, err := s.Resolve("db"); err == nil {
		t.Error("db is a peer's name and another's host name, and was not refused")
	}
	if p, err := s.Resolve("peer/db"); err != nil || p.Name != "db" {
		t.Errorf("Resolve(peer/db) = %v, %v", p, err)
	}
}

func TestResolveRefusesWhatIsUnknown(t *testing.T) {
	s := threeHosts()
	for _, name := range []string{"", "host", "host11", "10.36.0.1", "10.32.0.0/14", "peer/web.example", "node/host1", "peer/", "/", "fd77::12%eth0"} {
		_, err := s.Resolve(name)
		var unknown *UnknownError
		if !errors.As(err, &unknown) {
			t.Errorf("Resolve(%q): %v, want an UnknownError", name, err)
		}
	}
	if _, err := (&State{}).Resolve("host1"); err == nil || !strings.Contains(err.Error(), "no peers") {
		t.Errorf("an empty network: %v", err)
	}
	many := &State{}
	for range 100 {
		many.Peers = append(many.Peers, peer("p", ""))
	}
	if _, err := many.Resolve("x"); !strings.Contains(err.Error(), "and 88 more") {
		t.Errorf("a big network: %v", err)
	}
}

// Whatever is typed, one of three things comes of it, and a peer that is found
// is one of those there are.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{"host1", "peer/host1", "db.example", "10.33.1.2", "fd00:10::7", "", "/", "peer//", "::ffff:1.2.3.4", "1.2.3.4/8", "\x1b[31m", "fe80::1%eth0"} {
		f.Add(seed)
	}
	s := threeHosts()
	f.Fuzz(func(t *testing.T, name string) {
		p, err := s.Resolve(name)
		var ambiguous *AmbiguousError
		var unknown *UnknownError
		switch {
		case err == nil:
			if s.Peer(p.Name) != p {
				t.Errorf("%q found %s, which is not there", name, p.Name)
			}
		case errors.As(err, &ambiguous):
			if len(ambiguous.Matches) < 2 {
				t.Errorf("%q is ambiguous between %d", name, len(ambiguous.Matches))
			}
		case !errors.As(err, &unknown):
			t.Errorf("%q: %v", name, err)
		}
	})
}
