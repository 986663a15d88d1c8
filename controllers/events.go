// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

const (
	// maxEventMessage is what the API server takes.
	maxEventMessage = 1024
	// repeatAfter: an event that goes with no write is said again only then.
	repeatAfter = 10 * time.Minute
)

// Announcer raises Events. Those that go with a write are raised when it has
// succeeded; the others are decided again at every pass, and are said once.
type Announcer struct {
	Recorder record.EventRecorder

	said map[ownership.Event]time.Duration
}

// Announce raises the events whose writes are done.
func (a *Announcer) Announce(events []ownership.Event, outcomes []Outcome, now time.Duration) {
	done := make(map[int]bool, len(outcomes))
	for _, o := range outcomes {
		done[o.Index] = o.Err == nil && !o.Skipped
	}
	for _, e := range events {
		if e.After >= 0 {
			if done[e.After] {
				a.raise(e)
			}
			continue
		}
		if last, ok := a.said[e]; ok && now-last < repeatAfter {
			continue
		}
		if a.said == nil {
			a.said = map[ownership.Event]time.Duration{}
		}
		a.said[e] = now
		a.raise(e)
	}
	for e, at := range a.said {
		if now-at >= repeatAfter {
			delete(a.said, e)
		}
	}
}

// onNodes are what is said of a Peer and counts for its Node: who describes the
// Node, or looks for why nothing starts there, has to find it.
var onNodes = map[string]string{
	ownership.EventRemovalAccepted:  "PeerRemovalAccepted",
	ownership.EventRemovalBegun:     "PeerRemovalBegun",
	ownership.EventRemovalCancelled: "PeerRemovalCancelled",
	ownership.EventFenced:           "PeerFenced",
	ownership.EventRemoved:          "PeerRemoved",
}

// withNodes are events, and those of them that are said on a Node, too, if it
// is there.
func withNodes(v *View, events []ownership.Event) []ownership.Event {
	all := events
	for _, e := range events {
		reason, counts := onNodes[e.Reason]
		if !counts || e.Kind != kindPeer {
			continue
		}
		for i := range v.Nodes {
			if n := &v.Nodes[i]; n.Name == e.Name {
				e.Kind, e.UID, e.Reason = kindNode, n.UID, reason
				all = append(slices.Clip(all), e)
			}
		}
	}
	return all
}

func (a *Announcer) raise(e ownership.Event) {
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	message := e.Message
	if len(message) > maxEventMessage {
		message = message[:maxEventMessage-3] + "..."
	}
	version := v1alpha1.GroupVersion.String()
	if e.Kind == kindNode {
		version = corev1.SchemeGroupVersion.String()
	}
	a.Recorder.Event(&corev1.ObjectReference{
		APIVersion: version,
		Kind:       e.Kind,
		Name:       e.Name,
		UID:        types.UID(e.UID),
	}, kind, e.Reason, message)
}
