// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package display

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
)

// Outcome is the sentence a removal ends with.
func Outcome(r *inventory.Removal) string {
	switch {
	case r.Evidence == v1alpha1.EvidenceNeverJoined:
		return fmt.Sprintf("%s never joined: there was nothing to take over, and it is kept out", r.Peer)
	case r.Heir != "":
		return fmt.Sprintf("%d IPs taken over from %s", r.Addresses, r.Peer)
	}
	return fmt.Sprintf("%d IPs of %s went back to their pools", r.Addresses, r.Peer)
}

// Already says what became of a removal to somebody who comes too late.
func Already(r *inventory.Removal, now time.Time) string {
	switch {
	case r.Evidence == v1alpha1.EvidenceNeverJoined:
		return fmt.Sprintf("%s has been removed already: it never joined, and is kept out", r.Peer)
	case r.Over() && r.Heir != "":
		return fmt.Sprintf("%s has been removed already: %s took over %d IPs%s", r.Peer, r.Heir, r.Addresses, at(r.Completed, now))
	case r.Over():
		return fmt.Sprintf("%s has been removed already: its %d IPs went back to their pools%s", r.Peer, r.Addresses, at(r.Completed, now))
	case r.Heir != "":
		return fmt.Sprintf("%s is being removed already (%s), and %s is its heir", r.Peer, r.Phase, r.Heir)
	}
	return fmt.Sprintf("%s is being removed already (%s), without an heir: its IPs go back to their pools", r.Peer, r.Phase)
}

func at(t *metav1.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	if d := now.Sub(t.Time); d < -24*time.Hour || d > 24*time.Hour {
		return " at " + t.UTC().Format("2006-01-02T15:04:05Z")
	}
	return " at " + t.UTC().Format("15:04:05Z")
}

// Progress is one line about a removal under way, such as
// "fencing host3 … lease sealed; cut off by 2 of 2 peers".
func Progress(r *inventory.Removal) string {
	switch {
	case r.Over():
		return Outcome(r)
	case r.Cancelling && !r.Fixed():
		return fmt.Sprintf("cancelling the removal of %s … waiting for the controller's verdict", r.Peer)
	case r.Phase == v1alpha1.RemovalTransferring:
		return fmt.Sprintf("fencing %s … %s", r.Peer, Cutting(r))
	case r.Phase == v1alpha1.RemovalFencing:
		return fmt.Sprintf("fencing %s … %s", r.Peer, waiting(r))
	}
	return fmt.Sprintf("removing %s … %s", r.Peer, waiting(r))
}

func waiting(r *inventory.Removal) string {
	switch {
	case r.Message != "" && r.Stalled:
		return "stalled: " + r.Message
	case r.Message != "":
		return r.Message
	case r.Phase == v1alpha1.RemovalPending:
		return "waiting for the controller to accept the removal"
	}
	return "waiting for proof that it allocates no more"
}

// Cutting says how far the fence is.
func Cutting(r *inventory.Removal) string {
	f := r.Fence
	if !f.Known {
		return fmt.Sprintf("evidence: %s; the other peers are cutting it off", r.Evidence)
	}
	var words []string
	if f.Sealed {
		words = append(words, "lease sealed")
	}
	n := len(f.CutOffBy)
	if !r.Over() { // who joined later had nothing to cut off
		n += len(f.Missing)
	}
	words = append(words, fmt.Sprintf("cut off by %d of %d peers", len(f.CutOffBy), n))
	if len(f.Exempt) > 0 {
		words = append(words, "silent and sealed: "+Names(f.Exempt))
	}
	if len(f.Missing) > 0 && !r.Over() {
		words = append(words, "waiting for "+Names(f.Missing))
	}
	return strings.Join(words, "; ")
}

// Names joins a few names, and counts the rest.
func Names(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Hint says what would move a removal on, and what a person can do; it adds to
// the controller's message what there is to type.
func Hint(r *inventory.Removal) string {
	switch {
	case r.Over():
		return ""
	case r.Cancelling && !r.Fixed():
		return "ends by itself once the controller has looked"
	case r.Phase == v1alpha1.RemovalTransferring && len(r.Fence.Missing) > 0:
		return fmt.Sprintf("ends by itself when %s reports, or when its lease has run out; it can no longer be cancelled", Names(r.Fence.Missing))
	case r.Phase == v1alpha1.RemovalTransferring:
		return "ends by itself; it can no longer be cancelled"
	case r.Stalled:
		return "needs you: see the message; to give it up: " + giveUp(r)
	case r.Phase == v1alpha1.RemovalPending:
		return "goes on once a controller takes it up; if none does for a minute: kubectl selvage doctor"
	case r.AssertDown || !r.Declared:
		return "goes on by itself"
	}
	return fmt.Sprintf("sooner: drain %s, or vouch that it is off: kubectl selvage rmpeer %s%s --assert-down; to give it up: %s",
		r.Peer, r.Peer, heirFlag(r), giveUp(r))
}

func heirFlag(r *inventory.Removal) string {
	if r.Heir == "" {
		return ""
	}
	return " --heir " + r.Heir
}

func giveUp(r *inventory.Removal) string {
	if !r.Declared {
		return "bring the node back"
	}
	return "kubectl selvage cancel " + r.Peer
}
