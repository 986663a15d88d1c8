// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package web

import "reflect"

// Change is what makes one document of another.
type Change struct {
	// Head is the new one, if it differs.
	Head *Head `json:"head,omitempty"`
	// Peers are those that are new or differ, Gone the names of those that are
	// no more.
	Peers []Peer   `json:"peers,omitempty"`
	Gone  []string `json:"gone,omitempty"`
}

// Empty says that there is nothing to tell.
func (c *Change) Empty() bool { return c.Head == nil && len(c.Peers) == 0 && len(c.Gone) == 0 }

// Diff is what has changed between two documents. Both lists of peers are
// sorted by name.
func Diff(from, to *Document) *Change {
	c := &Change{}
	if !reflect.DeepEqual(from.Head, to.Head) {
		c.Head = &to.Head
	}
	was := from.Peers
	for i := range to.Peers {
		now := &to.Peers[i]
		for len(was) > 0 && was[0].Name < now.Name {
			c.Gone, was = append(c.Gone, was[0].Name), was[1:]
		}
		if len(was) > 0 && was[0].Name == now.Name {
			same := reflect.DeepEqual(&was[0], now)
			if was = was[1:]; same {
				continue
			}
		}
		c.Peers = append(c.Peers, *now)
	}
	for i := range was {
		c.Gone = append(c.Gone, was[i].Name)
	}
	return c
}
