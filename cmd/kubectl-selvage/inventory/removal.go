// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Removal is one removal as its PeerRemoval and its Peer tell it together: a
// removal that nobody declared has no PeerRemoval, and one that is over may
// have no Peer any more.
type Removal struct {
	Peer   string                 `json:"peer"`
	UID    types.UID              `json:"uid,omitempty"`
	Reason v1alpha1.RemovalReason `json:"reason"`
	Phase  v1alpha1.RemovalPhase  `json:"phase"`
	Heir   string                 `json:"heir,omitempty"`
	Since  metav1.Time            `json:"since,omitzero"`
	// Declared says that a PeerRemoval stands behind it: a person or a
	// pipeline wants the node out.
	Declared   bool              `json:"declared"`
	AssertDown bool              `json:"assertDown,omitempty"`
	Evidence   v1alpha1.Evidence `json:"evidence,omitempty"`
	Addresses  int64             `json:"addresses"`
	Completed  *metav1.Time      `json:"completed,omitempty"`
	// Message says what it waits for, in the controller's words; Stalled that
	// only a person can move it on.
	Message string `json:"message,omitempty"`
	Stalled bool   `json:"stalled,omitempty"`
	Fence   Fence  `json:"fence,omitzero"`
	// Cancelling: the PeerRemoval is deleted and waits for the verdict.
	Cancelling bool `json:"cancelling,omitempty"`
}

// Fence is how far the others are in cutting the peer off.
type Fence struct {
	// Known is false if the leases could not be read.
	Known  bool `json:"known"`
	Sealed bool `json:"leaseSealed"`
	// CutOffBy and Missing are the other peers, by whether they have reported.
	CutOffBy []string `json:"cutOffBy,omitempty"`
	Missing  []string `json:"missing,omitempty"`
	// Exempt are silent peers whose own lease was sealed meanwhile.
	Exempt []string `json:"exempt,omitempty"`
}

// Over says that nothing more happens.
func (r *Removal) Over() bool { return r.Phase == v1alpha1.RemovalRemoved }

// Fixed says that evidence and heir are fixed: it is too late to cancel.
func (r *Removal) Fixed() bool { return r.Over() || r.Phase == v1alpha1.RemovalTransferring }

// Removal tells the removal of that peer, or nil if there is none.
func (s *State) Removal(name string) *Removal {
	return s.removal(name, s.answers)
}

func (s *State) removal(name string, answers func() map[string]answer) *Removal {
	peer, declared := s.Peer(name), s.Declared(name)
	if peer != nil && peer.Spec.Removal == nil && !Gone(Phase(peer)) && declared == nil {
		return nil
	}
	if peer == nil && declared == nil {
		return nil
	}
	r := &Removal{Peer: name, Reason: v1alpha1.ReasonDeclared, Phase: v1alpha1.RemovalPending}
	if declared != nil {
		r.fromDeclared(declared)
	}
	if peer != nil && concerns(peer, declared) {
		r.fromPeer(peer)
	}
	if r.UID != "" && answers != nil {
		r.Fence = s.fence(name, r.UID, answers)
	}
	return r
}

// concerns says whether the peer is the incarnation that the removal, if any,
// is about: a removal bound to a former instance says nothing of today's.
func concerns(p *v1alpha1.Peer, d *v1alpha1.PeerRemoval) bool {
	if d == nil {
		return true
	}
	return !FormerInstance(d, p)
}

// FormerInstance says that the removal is bound to another instance of the
// peer than the one there is.
func FormerInstance(d *v1alpha1.PeerRemoval, p *v1alpha1.Peer) bool {
	if p == nil {
		return false
	}
	if d.Spec.InstanceID != "" && d.Spec.InstanceID != p.Spec.InstanceID {
		return true
	}
	return d.Status.PeerUID != "" && d.Status.PeerUID != p.UID
}

func (r *Removal) fromDeclared(d *v1alpha1.PeerRemoval) {
	r.Declared, r.Heir, r.AssertDown = true, d.Spec.Heir, d.Spec.AssertDown
	r.Since, r.UID = d.CreationTimestamp, d.Status.PeerUID
	r.Phase = cmp.Or(d.Status.Phase, v1alpha1.RemovalPending)
	r.Evidence, r.Addresses = d.Status.Evidence, d.Status.Addresses
	r.Completed = d.Status.CompletionTime
	r.Cancelling = !d.DeletionTimestamp.IsZero()
	r.condition(d.Status.Conditions)
}

// fromPeer adds what the Peer knows better: its phase is the record, which the
// PeerRemoval mirrors a moment later.
func (r *Removal) fromPeer(p *v1alpha1.Peer) {
	r.UID = p.UID
	if rec := p.Spec.Removal; rec != nil {
		r.Reason = rec.Reason
		if !r.Declared {
			r.Heir, r.AssertDown = rec.Heir, rec.AssertDown
		}
	}
	switch phase := Phase(p); phase {
	case v1alpha1.PhaseActive:
		if p.Spec.Removal != nil && r.Phase == v1alpha1.RemovalPending {
			r.Phase = v1alpha1.RemovalFencing
		}
	default:
		r.Phase = v1alpha1.RemovalPhase(phase)
	}
	if res := p.Status.Removal; res != nil && Gone(Phase(p)) {
		r.Evidence = cmp.Or(r.Evidence, res.Evidence)
		r.Addresses = max(r.Addresses, res.Addresses)
		r.Heir = ""
		if res.Heir != nil {
			r.Heir = res.Heir.Name
		}
		if r.Completed == nil {
			r.Completed = res.CompletionTime
		}
	}
	if r.Message == "" && r.Phase != v1alpha1.RemovalPending {
		r.condition(p.Status.Conditions)
	}
}

func (r *Removal) condition(conditions []metav1.Condition) {
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionReconciling, v1alpha1.ConditionReady} {
		c := meta.FindStatusCondition(conditions, kind)
		if c == nil || c.Message == "" || (kind != v1alpha1.ConditionReady && c.Status != metav1.ConditionTrue) {
			continue
		}
		r.Message = c.Message
		r.Stalled = kind == v1alpha1.ConditionStalled
		if r.Since.IsZero() {
			r.Since = c.LastTransitionTime
		}
		return
	}
}

// answer is what a peer's lease says of others, by their incarnations.
type answer struct{ cutOff, sealedFor map[string]bool }

// answers reads that of all leases. Where many are removed at once, most say
// the same, which is read once.
func (s *State) answers() map[string]answer {
	known := map[string]map[string]bool{}
	words := func(text string) map[string]bool {
		set, found := known[text]
		if !found {
			set = map[string]bool{}
			for word := range strings.SplitSeq(text, ",") {
				set[strings.TrimSpace(word)] = true
			}
			known[text] = set
		}
		return set
	}
	all := make(map[string]answer, len(s.Leases))
	for name, lease := range s.Leases {
		a := answer{cutOff: words(lease.Annotations[v1alpha1.CutOffAnnotation])}
		if Holder(&lease) == v1alpha1.SealedHolder {
			a.sealedFor = words(lease.Annotations[v1alpha1.SealedForAnnotation])
		}
		all[name] = a
	}
	return all
}

// fence reads from the leases who has cut that incarnation off. A lease counts
// as the barrier counts it: reported by its agent, or sealed on account of it.
func (s *State) fence(name string, uid types.UID, answers func() map[string]answer) Fence {
	if !s.Has(Leases) || !s.Has(Peers) {
		return Fence{}
	}
	f, all := Fence{Known: true}, answers()
	f.Sealed, _ = s.Sealed(name)
	for i := range s.Peers {
		p := &s.Peers[i]
		if p.Name == name || Gone(Phase(p)) {
			continue
		}
		switch a := all[p.Name]; {
		case a.cutOff[string(uid)]:
			f.CutOffBy = append(f.CutOffBy, p.Name)
		case a.sealedFor[string(uid)]:
			f.Exempt = append(f.Exempt, p.Name)
		default:
			f.Missing = append(f.Missing, p.Name)
		}
	}
	return f
}

// UnderWay lists the removals that are not over, longest first.
func (s *State) UnderWay() []Removal {
	var list []Removal
	answers := sync.OnceValue(s.answers)
	for _, name := range s.concerned() {
		if r := s.removal(name, answers); r != nil && !r.Over() {
			list = append(list, *r)
		}
	}
	slices.SortFunc(list, func(a, b Removal) int {
		return cmp.Or(a.Since.Compare(b.Since.Time), strings.Compare(a.Peer, b.Peer))
	})
	return list
}

// Ended lists the removals that are over, the latest first. Who had cut the peer
// off is not told of them: it is over.
func (s *State) Ended() []Removal {
	var list []Removal
	for _, name := range s.concerned() {
		if r := s.removal(name, nil); r != nil && r.Over() {
			list = append(list, *r)
		}
	}
	slices.SortFunc(list, func(a, b Removal) int {
		return cmp.Or(completed(&b).Compare(completed(&a)), strings.Compare(a.Peer, b.Peer))
	})
	return list
}

func completed(r *Removal) time.Time {
	if r.Completed == nil {
		return time.Time{}
	}
	return r.Completed.Time
}

// concerned are the names of those whom a removal is about, in order.
func (s *State) concerned() []string {
	var names []string
	for i := range s.Removals {
		names = append(names, s.Removals[i].Name)
	}
	for i := range s.Peers {
		// Most peers of a large network are simply there.
		if p := &s.Peers[i]; p.Spec.Removal != nil || Gone(Phase(p)) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Age is how long ago t was, never negative; clocks differ.
func Age(t metav1.Time, now time.Time) time.Duration {
	return max(0, now.Sub(t.Time))
}
