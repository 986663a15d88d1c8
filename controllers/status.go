// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// What people and machines read in status is computed here and in
// status_*.go, and nowhere else: from a view, from the decision that was made
// on it, and from how long each Lease has been silent. The functions are pure:
// they return what the status ought to be.

// Verdict is all that a status is computed from.
type Verdict struct {
	view  *View
	waits map[waitKey]ownership.Wait
	held  []string
	// silent is for how long a peer's Lease has been watched unchanged.
	silent func(peer string) time.Duration
	// now is the wall clock: it goes into LastTransitionTime and decides
	// nothing.
	now metav1.Time

	owned map[ownership.Ref]holding
	leass map[string]*ownership.Lease
	peers map[string]*ownership.Peer
}

type waitKey struct{ kind, name string }

// holding is what one incarnation owns.
type holding struct {
	ranges          int32
	addresses, used int64
	pools           map[string]bool
}

// NewVerdict indexes a view and its decision.
func NewVerdict(v *View, d *ownership.Decision, silent func(string) time.Duration, now time.Time) *Verdict {
	out := &Verdict{
		view:   v,
		waits:  make(map[waitKey]ownership.Wait, len(d.Waits)),
		held:   d.Held,
		silent: silent,
		now:    metav1.NewTime(now).Rfc3339Copy(),
		owned:  make(map[ownership.Ref]holding, len(v.Peers)),
		leass:  make(map[string]*ownership.Lease, len(v.Leases)),
		peers:  make(map[string]*ownership.Peer, len(v.Peers)),
	}
	for _, w := range d.Waits {
		// The first wait about an object is what it hangs on.
		if _, ok := out.waits[waitKey{w.Kind, w.Name}]; !ok {
			out.waits[waitKey{w.Kind, w.Name}] = w
		}
	}
	for i := range v.Leases {
		out.leass[v.Leases[i].Name] = &v.Leases[i]
	}
	for i := range v.Peers {
		out.peers[v.Peers[i].Name] = &v.Peers[i]
	}
	for i := range v.Ranges {
		r := &v.Ranges[i]
		if r.Owner == (ownership.Ref{}) {
			continue
		}
		h := out.owned[r.Owner]
		h.ranges++
		h.addresses += size(r.CIDR).Int64()
		h.used += r.Used
		if h.pools == nil {
			h.pools = map[string]bool{}
		}
		h.pools[r.Pool] = true
		out.owned[r.Owner] = h
	}
	return out
}

func (d *Verdict) wait(kind, name string) (ownership.Wait, bool) {
	w, ok := d.waits[waitKey{kind, name}]
	return w, ok
}

// state is one condition as it ought to be; reason and message as in
// metav1.Condition.
type state struct {
	kind            string
	yes             bool
	reason, message string
}

// setConditions makes conditions say exactly the given states; those of other
// types that are ours and not given are taken away. LastTransitionTime moves
// only when a status does.
func (d *Verdict) setConditions(conditions *[]metav1.Condition, generation int64, states ...state) {
	for _, kind := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionFenced, v1alpha1.ConditionReconciling,
		v1alpha1.ConditionStalled, v1alpha1.ConditionExhausted, v1alpha1.ConditionRemovalsHeld,
	} {
		if !slices.ContainsFunc(states, func(s state) bool { return s.kind == kind }) && apimeta.FindStatusCondition(*conditions, kind) != nil {
			apimeta.RemoveStatusCondition(conditions, kind)
		}
	}
	for _, s := range states {
		status := metav1.ConditionFalse
		if s.yes {
			status = metav1.ConditionTrue
		}
		apimeta.SetStatusCondition(conditions, metav1.Condition{
			Type: s.kind, Status: status, Reason: s.reason, Message: s.message,
			ObservedGeneration: generation, LastTransitionTime: d.now,
		})
	}
}

// progress renders the kstatus pair. Stalled wins: both True would read as
// "in progress", and a person would go on waiting.
func progress(w ownership.Wait, moving bool) []state {
	if w.Stalled {
		return []state{
			{v1alpha1.ConditionReconciling, false, w.Reason, w.Message},
			{v1alpha1.ConditionStalled, true, w.Reason, w.Message},
		}
	}
	if moving {
		return []state{{v1alpha1.ConditionReconciling, true, w.Reason, w.Message}}
	}
	return nil
}

// change tells how urgently a status is to be written.
type change int

const (
	// unchanged: writing it would be in vain.
	unchanged change = iota
	// cosmetic: only a countdown or a count of used addresses moved on.
	cosmetic
	// material: somebody waits for it.
	material
)

var countdown = regexp.MustCompile(`\b\d+s left\b`)

// compareConditions ignores countdowns when it looks for material changes.
func compareConditions(a, b []metav1.Condition) change {
	if slices.EqualFunc(a, b, sameCondition) {
		return unchanged
	}
	if len(a) != len(b) {
		return material
	}
	for i := range b {
		was := apimeta.FindStatusCondition(a, b[i].Type)
		if was == nil || was.Status != b[i].Status || was.Reason != b[i].Reason || was.ObservedGeneration != b[i].ObservedGeneration {
			return material
		}
		if was.Message != b[i].Message && countdown.ReplaceAllString(was.Message, "") != countdown.ReplaceAllString(b[i].Message, "") {
			return material
		}
	}
	return cosmetic
}

// gist is what a status says, as a number, but for countdowns and for counts of
// used addresses.
func gist(o client.Object) uint64 {
	h := fnv.New64a()
	var conditions []metav1.Condition
	switch o := o.(type) {
	case *v1alpha1.AddressPool:
		conditions = o.Status.Conditions
	case *v1alpha1.Peer:
		conditions = o.Status.Conditions
		_, _ = fmt.Fprintln(h, o.Status.Phase, o.Status.Ranges, o.Status.Addresses)
	case *v1alpha1.PeerRemoval:
		conditions = o.Status.Conditions
		_, _ = fmt.Fprintln(h, o.Status.Phase, o.Status.Evidence, o.Status.Heir)
	}
	for _, c := range conditions {
		_, _ = fmt.Fprintln(h, c.Type, c.Status, c.Reason, c.ObservedGeneration, countdown.ReplaceAllString(c.Message, ""))
	}
	return h.Sum64()
}

// sameCondition is == but for what a time is beside its instant.
func sameCondition(a, b metav1.Condition) bool {
	at := a.LastTransitionTime.Equal(&b.LastTransitionTime)
	a.LastTransitionTime, b.LastTransitionTime = metav1.Time{}, metav1.Time{}
	return at && a == b
}
