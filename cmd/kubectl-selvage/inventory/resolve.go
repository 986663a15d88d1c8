// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Match is a peer that a name may mean, and why.
type Match struct {
	Peer *v1alpha1.Peer
	// Why is what of the peer matched: "peer name", "host name",
	// "underlay address", "address in range 10.40.0.0/14".
	Why string
}

// AmbiguousError says that a name means more than one peer.
type AmbiguousError struct {
	Name    string
	Matches []Match
}

func (e *AmbiguousError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q may mean any of %d peers; say which:", e.Name, len(e.Matches))
	for _, m := range e.Matches {
		fmt.Fprintf(&b, "\n  peer/%s (%s)", m.Peer.Name, m.Why)
	}
	return b.String()
}

// UnknownError says that a name means no peer.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("%q is not a peer: the network has no peers", e.Name)
	}
	shown, more := e.Known, ""
	if len(shown) > 12 {
		shown, more = shown[:12], fmt.Sprintf(" and %d more", len(e.Known)-12)
	}
	return fmt.Sprintf("%q is no peer's name, host name or address; the peers are %s%s",
		e.Name, strings.Join(shown, ", "), more)
}

// Resolve finds the one peer that a name means: a peer's name, its host name,
// one of its underlay addresses or an address in a range that it owns. A name
// that means several is refused with the candidates; peer/NAME (as -o name
// prints it) means the peer's name and nothing else.
func (s *State) Resolve(name string) (*v1alpha1.Peer, error) {
	matches := s.matches(name)
	switch len(matches) {
	case 1:
		return matches[0].Peer, nil
	case 0:
		unknown := &UnknownError{Name: name}
		for _, p := range s.Peers {
			unknown.Known = append(unknown.Known, p.Name)
		}
		return nil, unknown
	}
	return nil, &AmbiguousError{Name: name, Matches: matches}
}

// matches lists each peer once, under the first thing that matched.
func (s *State) matches(name string) []Match {
	bare, qualified := BareName(name)
	addr, err := netip.ParseAddr(name)
	isAddr := err == nil && !qualified
	addr = addr.Unmap()
	owned := map[types.UID]string{}
	if isAddr {
		owned = s.ownersOf(addr)
	}
	var found []Match
	for i := range s.Peers {
		p := &s.Peers[i]
		switch {
		case p.Name == bare:
			found = append(found, Match{p, "peer name"})
		case qualified:
		case name != "" && strings.EqualFold(HostName(p), name):
			found = append(found, Match{p, "host name"})
		case isAddr && containsAddr(Underlay(p), addr):
			found = append(found, Match{p, "underlay address"})
		case owned[p.UID] != "":
			found = append(found, Match{p, "address in range " + owned[p.UID]})
		}
	}
	return found
}

// ownersOf is who owns an address, and in which range: one, unless something is
// very wrong.
func (s *State) ownersOf(addr netip.Addr) map[types.UID]string {
	owners := map[types.UID]string{}
	for i := range s.Ranges {
		if r := &s.Ranges[i]; r.Spec.Owner != nil && Prefix(r.Spec.CIDR).Contains(addr) {
			owners[r.Spec.Owner.UID] = r.Spec.CIDR
		}
	}
	return owners
}

func containsAddr(addrs []string, want netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err == nil && a.Unmap() == want
	})
}

// BareName takes the kind off peer/NAME, as -o name prints it, and says
// whether there was one.
func BareName(name string) (bare string, qualified bool) {
	kind, bare, found := strings.Cut(name, "/")
	if !found {
		return name, false
	}
	kind = strings.TrimSuffix(strings.ToLower(kind), "."+v1alpha1.GroupVersion.Group)
	switch kind {
	case "peer", "peers", "peerremoval", "peerremovals", "rmpeer":
		return bare, true
	}
	return name, false
}

// Prefix parses a CIDR that the API server has accepted; the zero Prefix, which
// contains nothing, stands for one that it should not have.
func Prefix(cidr string) netip.Prefix {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
