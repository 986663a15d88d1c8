// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package chronicle

import (
	"net/netip"
	"sort"

	"github.com/selvage-net/selvage/test/e2e/chaos/history"
)

// span is the time in which etcd made a revision: after the last consistent
// read was asked that did not see it, and before the first answered that did.
func (c *Chronicle) span(m moment) history.Span {
	i := sort.Search(len(c.probes), func(i int) bool { return c.probes[i].revision >= m.revision })
	s := history.Span{Return: m.seen}
	if i < len(c.probes) {
		s.Return = min(s.Return, c.probes[i].answered)
	}
	if i > 0 {
		s.Call = c.probes[i-1].asked
	}
	return s
}

// Losses are all ranges' goings away from their owners.
func (c *Chronicle) Losses() []history.Loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	var losses []history.Loss
	for _, t := range c.state.tenures {
		if t.until != (moment{}) {
			losses = append(losses, history.Loss{Host: t.host, Gone: t.cidr, Kept: t.kept, Span: c.span(t.until)})
		}
	}
	return losses
}

// Reachable says whether the host was in the reachable network during all of
// the span. When in doubt, it was not.
func (c *Chronicle) Reachable(host string, during history.Span) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	turns := c.state.turns[host]
	if len(turns) == 0 || c.span(turns[0].moment).Return > during.Call {
		return false
	}
	// The first whose end may lie in the span, and on.
	first := sort.Search(len(turns)-1, func(i int) bool { return c.span(turns[i+1].moment).Return >= during.Call })
	for _, t := range turns[first:] {
		if c.span(t.moment).Call > during.Return {
			break
		}
		if !t.reachable {
			return false
		}
	}
	return true
}

// MayOwn says whether the peer of that host can have owned the address at some
// moment of the span.
func (c *Chronicle) MayOwn(host string, address netip.Addr, during history.Span) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.state.tenures {
		if t.host != host || !t.cidr.Contains(address) || c.span(t.from).Call > during.Return {
			continue
		}
		if t.until == (moment{}) || c.span(t.until).Return >= during.Call {
			return true
		}
	}
	return false
}
