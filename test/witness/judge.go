// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package witness watches a cluster from outside and knows nothing of
// Selvage: it reads which network namespace of which node has which address,
// hears who answers on an address, and says whether an address was ever held,
// or heard, twice.
package witness

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Holder is a pod's network namespace: its node, the node's boot, and the
// namespace's inode, which the kernel gives to no other at the same time.
type Holder struct {
	Node  string
	Boot  string
	Inode uint64
}

func (h Holder) String() string { return fmt.Sprintf("%s/%d (boot %.8s)", h.Node, h.Inode, h.Boot) }

// Stay is an address that was seen with a holder. It was there at some moment
// of the first look and at some moment of the last, so it certainly was there
// from the end of the first to the beginning of the last.
type Stay struct {
	Addr   netip.Addr
	Holder Holder
	// FirstEnd ends the first look that saw it; LastBegin begins the last one.
	FirstEnd, LastBegin time.Time
}

func (s Stay) String() string {
	const clock = "15:04:05.000"
	return fmt.Sprintf("%s at %s from %s to %s", s.Addr, s.Holder, s.FirstEnd.Format(clock), s.LastBegin.Format(clock))
}

// certain says whether the address was seen more than once.
func (s Stay) certain() bool { return s.LastBegin.After(s.FirstEnd) }

// Twice is an address that two held at the same time: OneHolder is broken.
type Twice struct{ A, B Stay }

func (t Twice) Error() string { return fmt.Sprintf("held twice: %s, and %s", t.A, t.B) }

// Silence is a time in which a node could not be heard by the others: what its
// pods held then was outside the reachable network.
type Silence struct {
	Node     string
	From, To time.Time
}

// Judge returns every pair of stays with one address and two holders that
// certainly overlapped while both were in the reachable network. It raises no
// false alarm, and misses what is shorter than the time between two looks.
func Judge(stays []Stay, silences []Silence) []Twice {
	var audible []Stay
	for _, s := range stays {
		if s.certain() {
			audible = append(audible, without(s, silences)...)
		}
	}
	slices.SortFunc(audible, func(a, b Stay) int {
		return cmp.Or(a.Addr.Compare(b.Addr), a.FirstEnd.Compare(b.FirstEnd))
	})
	var found []Twice
	for i, a := range audible {
		for _, b := range audible[i+1:] {
			if b.Addr != a.Addr || !b.FirstEnd.Before(a.LastBegin) {
				break // sorted: no later one begins before a ends
			}
			if a.Holder != b.Holder {
				found = append(found, Twice{a, b})
			}
		}
	}
	return found
}

// without cuts out of a stay the times in which its node was silent.
func without(s Stay, silences []Silence) []Stay {
	rest := []Stay{s}
	for _, quiet := range silences {
		if quiet.Node != s.Holder.Node {
			continue
		}
		var next []Stay
		for _, r := range rest {
			before, after := r, r
			if quiet.From.Before(before.LastBegin) {
				before.LastBegin = quiet.From
			}
			if quiet.To.After(after.FirstEnd) {
				after.FirstEnd = quiet.To
			}
			if before.certain() {
				next = append(next, before)
			}
			if after.certain() && after.FirstEnd != before.FirstEnd {
				next = append(next, after)
			}
		}
		rest = next
	}
	return rest
}

// Answer is what was heard on an address: who answered, by a name that no two
// pods ever share.
type Answer struct {
	Addr netip.Addr
	Who  string
	// Sent and Heard bracket the moment at which it was answered.
	Sent, Heard time.Time
}

// Revenant is one who was heard on an address again after another had been
// heard on it.
type Revenant struct{ Before, Between, After Answer }

func (r Revenant) Error() string {
	return fmt.Sprintf("%s: %s was heard at %s, %s at %s, and %s again at %s", r.Before.Addr,
		r.Before.Who, r.Before.Heard.Format(time.TimeOnly), r.Between.Who, r.Between.Heard.Format(time.TimeOnly), r.After.Who, r.After.Heard.Format(time.TimeOnly))
}

// JudgeAnswers returns the revenants: an address passes from pod to pod and
// never back, since a pod that lost its address is not given it again.
func JudgeAnswers(answers []Answer) []Revenant {
	answers = slices.Clone(answers)
	slices.SortStableFunc(answers, func(a, b Answer) int {
		return cmp.Or(a.Addr.Compare(b.Addr), a.Sent.Compare(b.Sent))
	})
	var found []Revenant
	last := map[string]Answer{}
	var current Answer
	for _, a := range answers {
		if a.Addr != current.Addr {
			clear(last)
			current = a
		}
		// Answers whose brackets overlap have no order.
		if before, ok := last[a.Who]; ok && a.Who != current.Who && before.Heard.Before(current.Sent) && current.Heard.Before(a.Sent) {
			found = append(found, Revenant{before, current, a})
		}
		last[a.Who] = a
		if a.Who == current.Who || current.Heard.Before(a.Sent) {
			current = a
		}
	}
	return found
}
