// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// ErrRegressed says that the API server shows less than it has shown to this
// process: etcd was restored from a backup. What agents said for this term they
// said before that, so the term is worth nothing any more.
var ErrRegressed = errors.New("StateRegressed")

// maxForgotten bounds how many ranges are remembered that are gone.
const maxForgotten = 4096

// continuity remembers what the API has shown, to notice that it shows less.
//
// Watches are of no help: they go on from a revision that is yet to come, and
// their caches keep what is gone for good. Nor are the peers' Leases, which name
// the leader of the backup's time: if the same process still leads, nothing on
// them tells that the agents have yet to compare their memory with what the API
// shows now. So that process must notice, and end: what runs it starts it anew,
// with empty caches and as another leader.
//
// Two things tell. A backup is at a lower revision of etcd's than what it
// replaces, which resourceVersions show; and where revisions were bumped, or
// have caught up, ranges have lost what was done to them since.
type continuity struct {
	newest string            // resourceVersion of ranges, or of a list of them
	ranges map[string]tenure // by uid
	// compared is when it was compared last; 0: never.
	compared time.Duration
}

// tenure is the last that was seen of a range.
type tenure struct {
	name  string
	epoch int64
	owned bool
}

// due says whether it is time to compare, whatever caches say.
func (c *continuity) due(now time.Duration) bool {
	return c.compared == 0 || now-c.compared >= resync
}

// note takes in what a view shows, a cache's too.
func (c *continuity) note(v *View) {
	c.reach(v.Revision)
	for _, r := range v.ranges {
		c.reach(r.ResourceVersion)
	}
	for i := range v.Ranges {
		c.noteRange(&v.Ranges[i])
	}
}

func (c *continuity) reach(revision string) {
	if order, err := resourceversion.CompareResourceVersion(revision, c.newest); revision != "" && (err != nil || order > 0) {
		c.newest = revision // the first, or one that cannot be compared
	}
}

// wrote takes in what this process has done itself.
func (c *continuity) wrote(outcomes []Outcome) {
	for _, o := range outcomes {
		if w, ok := o.Write.(ownership.UpdateRange); ok && o.Err == nil && !o.Skipped {
			c.noteRange(&w.After)
		}
	}
}

func (c *continuity) noteRange(r *ownership.Range) {
	if c.ranges == nil {
		c.ranges = map[string]tenure{}
	}
	if known, ok := c.ranges[r.UID]; !ok || r.Epoch >= known.epoch {
		c.ranges[r.UID] = tenure{r.Name, r.Epoch, r.Owner != (ownership.Ref{})}
	}
}

// checkRevision compares the revision of a consistent LIST.
func (c *continuity) checkRevision(revision string, now time.Duration) error {
	c.compared = max(now, 1)
	if order, err := resourceversion.CompareResourceVersion(revision, c.newest); err == nil && order < 0 {
		return fmt.Errorf("%w: the API server is at revision %s, and was at %s before", ErrRegressed, revision, c.newest)
	}
	return nil
}

// check compares a consistent view, whose LISTs began after everything had been
// shown that was noted. Only a leader knows enough to miss a range: where several
// write, one is gone that another has taken from its owner.
func (c *continuity) check(v *View, leader bool, now time.Duration) error {
	if err := c.checkRevision(v.Revision, now); err != nil || !leader {
		return err
	}
	shown := make(map[string]bool, len(v.Ranges))
	for i := range v.Ranges {
		r := &v.Ranges[i]
		shown[r.UID] = true
		if known, ok := c.ranges[r.UID]; ok && r.Epoch < known.epoch {
			return fmt.Errorf("%w: AddressRange %s is in epoch %d, and was in %d before", ErrRegressed, r.Name, r.Epoch, known.epoch)
		}
	}
	forgotten := 0
	for uid, known := range c.ranges {
		if shown[uid] {
			continue
		}
		if known.owned {
			return fmt.Errorf("%w: AddressRange %s is missing, which had an owner", ErrRegressed, known.name)
		}
		if forgotten++; forgotten > maxForgotten {
			delete(c.ranges, uid)
		}
	}
	return nil
}
