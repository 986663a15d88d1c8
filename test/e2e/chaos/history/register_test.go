// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"net/netip"
	"testing"
	"time"
)

var address = netip.MustParseAddr("10.0.0.7")

func span(call, back int) Span {
	s := Span{time.Duration(call) * time.Second, time.Duration(back) * time.Second}
	if back < 0 {
		s.Return = Never
	}
	return s
}

func held(pod, host string, added, released Span) Holding {
	return Holding{Pod: pod, Host: host, Address: address, Added: added, Released: released, Sure: true}
}

func maybe(pod, host string, added, released Span) Holding {
	h := held(pod, host, added, released)
	h.Sure = false
	return h
}

func answer(pod string, s Span) Heard { return Heard{Pod: pod, Address: address, By: "asker", Span: s} }

func loss(host string, s Span) Loss {
	return Loss{Host: host, Gone: netip.MustParsePrefix("10.0.0.0/24"), Span: s}
}

// The judge must itself be judged: what is wrong is found, and what is right,
// or may be, is not accused.
func TestJudge(t *testing.T) {
	none := Span{}
	for name, c := range map[string]struct {
		holdings []Holding
		heard    []Heard
		losses   []Loss
		wrong    bool
	}{
		"one after the other": {holdings: []Holding{held("p", "a", span(0, 1), span(5, 6)), held("q", "b", span(7, 8), none)},
			heard: []Heard{answer("p", span(2, 3)), answer("q", span(9, 10))}},
		"two at once":                            {holdings: []Holding{held("p", "a", span(0, 1), none), held("q", "b", span(7, 8), none)}, wrong: true},
		"two at once, on one host":               {holdings: []Holding{held("p", "a", span(0, 1), span(9, 10)), held("q", "a", span(7, 8), none)}, wrong: true},
		"given again while it is being released": {holdings: []Holding{held("p", "a", span(0, 1), span(5, 9)), held("q", "a", span(6, 7), none)}},
		"inherited": {holdings: []Holding{held("p", "a", span(0, 1), none), held("q", "b", span(7, 8), none)},
			losses: []Loss{loss("a", span(3, 4))}, heard: []Heard{answer("p", span(2, 3)), answer("q", span(9, 10))}},
		"inherited before the range was lost": {holdings: []Holding{held("p", "a", span(0, 1), none), held("q", "b", span(7, 8), none)},
			losses: []Loss{loss("a", span(9, 10))}, wrong: true},
		"another host's loss": {holdings: []Holding{held("p", "a", span(0, 1), none), held("q", "b", span(7, 8), none)},
			losses: []Loss{loss("c", span(3, 4))}, wrong: true},
		"a part was kept": {holdings: []Holding{held("p", "a", span(0, 1), none), held("q", "b", span(7, 8), none)},
			losses: []Loss{{Host: "a", Gone: netip.MustParsePrefix("10.0.0.0/24"), Kept: netip.MustParsePrefix("10.0.0.0/25"), Span: span(3, 4)}}, wrong: true},
		"a stale answer": {holdings: []Holding{held("p", "a", span(0, 1), none), held("q", "b", span(7, 8), none)},
			losses: []Loss{loss("a", span(3, 4))}, heard: []Heard{answer("p", span(9, 10))}, wrong: true},
		"a stale answer, the address being nobody's": {holdings: []Holding{held("p", "a", span(0, 1), none)},
			losses: []Loss{loss("a", span(3, 4))}, heard: []Heard{answer("p", span(5, 6))}, wrong: true},
		"an answer that was under way": {holdings: []Holding{held("p", "a", span(0, 1), none)},
			losses: []Loss{loss("a", span(3, 4))}, heard: []Heard{answer("p", span(2, 6))}},
		"an answer after DEL":                    {holdings: []Holding{held("p", "a", span(0, 1), span(2, 3))}, heard: []Heard{answer("p", span(4, 5))}, wrong: true},
		"a pod that hears itself":                {heard: []Heard{{Pod: "p", Address: address, By: "p", Span: span(4, 5)}}},
		"an answer of somebody who never had it": {heard: []Heard{answer("p", span(4, 5))}, wrong: true},
		"an unknown ADD that happened": {holdings: []Holding{maybe("p", "a", span(0, 1), span(8, 9)), held("q", "a", span(10, 11), none)},
			heard: []Heard{answer("p", span(4, 5))}},
		"an unknown ADD that happened late": {holdings: []Holding{held("q", "a", span(0, 1), span(2, 3)), maybe("p", "a", span(0, 1), none)},
			heard: []Heard{answer("q", span(1, 2)), answer("p", span(4, 5))}},
		"an unknown ADD that did not happen": {holdings: []Holding{maybe("p", "a", span(0, 1), none), held("q", "a", span(10, 11), none)},
			heard: []Heard{answer("q", span(12, 13))}},
		"an unknown ADD that happened, and another's": {holdings: []Holding{maybe("p", "a", span(0, 1), none), held("q", "a", span(10, 11), none)},
			heard: []Heard{answer("p", span(4, 5))}, wrong: true},
	} {
		found := Judge(t.Context(), c.holdings, c.heard, c.losses, time.Minute)
		if (len(found) > 0) != c.wrong {
			t.Errorf("%s: wrong is to be %t, found %+v", name, c.wrong, found)
		}
		for _, v := range found {
			if v.Undecided || len(v.Story) == 0 {
				t.Errorf("%s: %+v", name, v)
			}
		}
	}
}

// Addresses have a register each.
func TestJudge_Addresses(t *testing.T) {
	other := held("q", "b", span(0, 1), Span{})
	other.Address = address.Next()
	if found := Judge(t.Context(), []Holding{held("p", "a", span(0, 1), Span{}), other}, nil, nil, time.Minute); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}
