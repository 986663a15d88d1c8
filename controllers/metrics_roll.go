// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// roll is a gauge with a series for each object that is out of order, and none
// for the others: there may be thousands of those.
type roll struct {
	*prometheus.GaugeVec
	labels      int
	next, shown map[[3]string]float64
}

func newRoll(o prometheus.GaugeOpts, labels ...string) *roll {
	return &roll{GaugeVec: prometheus.NewGaugeVec(o, labels), labels: len(labels), next: map[[3]string]float64{}}
}

// note has the next publication show a value.
func (r *roll) note(value float64, labels ...string) {
	var key [3]string
	copy(key[:], labels)
	r.next[key] = value
}

// publish shows what was noted since the last time, and that alone. What stays
// is not absent meanwhile, or a scrape could miss it.
func (r *roll) publish() {
	for key, value := range r.next {
		r.WithLabelValues(key[:r.labels]...).Set(value)
	}
	for key := range r.shown {
		if _, stays := r.next[key]; !stays {
			r.DeleteLabelValues(key[:r.labels]...)
		}
	}
	r.next, r.shown = make(map[[3]string]float64, len(r.next)), r.next
}

// notePeer takes in a peer's conditions: why it does not serve or, if it is on
// its way out, what that waits for. A peer that is removed waits for nothing.
func (m *Metrics) notePeer(p *ownership.Peer, conditions []metav1.Condition) {
	ready := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status == metav1.ConditionTrue || p.Phase == ownership.Removed {
		return
	}
	if p.Removal == nil && p.Phase != ownership.Transferring {
		m.unready.note(1, p.Name, unreadyReason(ready))
		return
	}
	// It turns when evidence is at hand, and so tells when the phase began.
	if fenced := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionFenced); fenced != nil {
		m.waiting.note(float64(fenced.LastTransitionTime.Unix()), p.Name, string(phaseOf(p)), ready.Reason)
	}
}

// unreadyReason is a condition's reason, or the word that what an agent says
// begins with.
func unreadyReason(ready *metav1.Condition) string {
	if word, _, ok := strings.Cut(ready.Message, ":"); ready.Reason == ReasonSuspended && ok && !strings.Contains(word, " ") {
		return word
	}
	return ready.Reason
}

// noteRemoval takes in a removal that no peer has taken up.
func (m *Metrics) noteRemoval(o *v1alpha1.PeerRemoval, s *v1alpha1.PeerRemovalStatus) {
	ready := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	if ready != nil && s.Phase == v1alpha1.RemovalPending {
		m.waiting.note(float64(o.CreationTimestamp.Unix()), o.Name, string(s.Phase), ready.Reason)
	}
}

// notePool says of a pool what only a person can mend.
func (m *Metrics) notePool(name string, conditions []metav1.Condition, exhausted bool) {
	value := map[bool]float64{true: 1}
	m.held.WithLabelValues(name).Set(value[apimeta.IsStatusConditionTrue(conditions, v1alpha1.ConditionRemovalsHeld)])
	m.exhausted.WithLabelValues(name).Set(value[exhausted])
}
