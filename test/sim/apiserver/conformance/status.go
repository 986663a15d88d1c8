// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// says has the status say a number.
func (s *scene) says(n int) func(client.Object) {
	return func(o client.Object) { s.report(o, n) }
}

func (s *scene) updateStatus(o client.Object, change func(client.Object)) client.Object {
	s.Helper()
	next := copied(o)
	change(next)
	s.ok(s.api.Status().Update(s.Context(), next))
	return next
}

func (s *scene) refusesStatus(o client.Object, reason metav1.StatusReason, change func(client.Object)) {
	s.Helper()
	before := s.get(o)
	next := copied(o)
	change(next)
	s.refused(s.api.Status().Update(s.Context(), next), reason)
	s.same(s.get(o), before)
}

// patchStatus sends what changes, and the version that it was made for.
func (s *scene) patchStatus(o client.Object, change func(client.Object)) (client.Object, error) {
	next := copied(o)
	change(next)
	err := s.api.Status().Patch(s.Context(), next, client.MergeFromWithOptions(copied(o), client.MergeFromWithOptimisticLock{}))
	return next, err
}

var statuses = []test{
	{name: "update says nothing about the status", of: hasStatus, run: func(s *scene) {
		o := s.updateStatus(s.create(), s.says(7))
		next := s.update(o, s.says(8))
		s.kept(o, next)
		next = s.update(o, all(s.says(8), s.want))
		s.rose(o, next)
		s.that(s.reported(next) == 7, "it reports %d", s.reported(next))
	}},
	{name: "status update", of: hasStatus, run: func(s *scene) {
		o := s.create()
		next := s.updateStatus(o, s.says(7))
		s.rose(o, next)
		s.generation(next, s.born)
		s.that(s.reported(next) == 7, "it reports %d", s.reported(next))
		s.same(s.get(o), next)
	}},
	{name: "status update says nothing about the rest", of: isCustom, run: func(s *scene) {
		o := s.create(finalizer)
		next := s.updateStatus(o, all(s.says(7), s.want, annotate, func(o client.Object) { o.SetFinalizers(nil) }))
		s.generation(next, s.born)
		s.that(len(next.GetAnnotations()) == 0 && len(next.GetFinalizers()) == 1, "its metadata has changed")
		wanted := copied(o)
		s.report(wanted, 7)
		wanted.SetResourceVersion(next.GetResourceVersion())
		s.same(next, wanted)
	}},
	{name: "status update that changes nothing", of: hasStatus, run: func(s *scene) {
		o := s.updateStatus(s.create(), s.says(7))
		next := s.updateStatus(o, s.says(7))
		s.kept(o, next)
	}},
	{name: "status update of the rest alone changes nothing", of: isCustom, run: func(s *scene) {
		o := s.settled()
		next := s.updateStatus(o, all(s.want, annotate))
		s.kept(o, next)
		s.same(s.get(o), o)
	}},
	{name: "status update of what has changed since", of: hasStatus, run: func(s *scene) {
		o := s.create()
		s.update(o, annotate)
		s.refusesStatus(o, metav1.StatusReasonConflict, s.says(7))
	}},
	{name: "status update after another", of: hasStatus, run: func(s *scene) {
		o := s.create()
		s.updateStatus(o, s.says(6))
		s.refusesStatus(o, metav1.StatusReasonConflict, s.says(7))
		s.refusesUpdate(o, metav1.StatusReasonConflict, s.want)
	}},
	{name: "status update without a version is refused", of: isCustom, run: func(s *scene) {
		s.refusesStatus(s.create(), metav1.StatusReasonInvalid, all(s.says(7), versionless))
	}},
	{name: "status update without a version overwrites", of: func(k kind) bool { return hasStatus(k) && k.overwrites }, run: func(s *scene) {
		o := s.create()
		later := s.updateStatus(o, s.says(6))
		s.rose(later, s.updateStatus(o, all(s.says(7), versionless)))
	}},
	{name: "the first update stores the default, whatever it changes", of: defaults, run: func(s *scene) {
		for _, write := range []func(client.Object, func(client.Object)) client.Object{s.update, s.updateStatus} {
			o := s.create()
			next := write(o, func(client.Object) {})
			s.rose(o, next)
			s.generation(next, s.born)
			s.kept(next, write(next, func(client.Object) {}))
			o.SetResourceVersion(next.GetResourceVersion())
			s.same(next, o)
		}
	}},
	{name: "status update with another uid", of: hasStatus, run: func(s *scene) {
		s.refusesStatus(s.create(), metav1.StatusReasonConflict, all(s.says(7), stranger))
	}},
	{name: "status update of what is gone", of: hasStatus, run: func(s *scene) {
		o := s.create()
		s.ok(s.delete(o))
		s.refused(s.api.Status().Update(s.Context(), copied(o)), metav1.StatusReasonNotFound)
		anonymous(o)
		s.refused(s.api.Status().Update(s.Context(), copied(o)), metav1.StatusReasonNotFound)
		s.gone(o)
	}},
	{name: "status update of a namesake's", of: hasStatus, run: func(s *scene) {
		old := s.create()
		s.ok(s.delete(old))
		o := s.recreate(old)
		s.refusesStatus(o, metav1.StatusReasonConflict, all(s.says(7), func(o client.Object) {
			o.SetUID(old.GetUID())
			o.SetResourceVersion(old.GetResourceVersion())
		}))
	}},
	{name: "status that is emptied is defaulted", of: defaults, run: func(s *scene) {
		o := s.updateStatus(s.create(), s.says(7))
		next := s.updateStatus(o, s.says(0))
		s.that(s.reported(next) == -1, "observedGeneration is %d", s.reported(next))
	}},
	{name: "status of which a part is left is not defaulted", of: named("PeerRemoval"), run: func(s *scene) {
		next := s.updateStatus(s.create(), func(o client.Object) {
			o.(*v1alpha1.PeerRemoval).Status = v1alpha1.PeerRemovalStatus{Phase: v1alpha1.RemovalPending}
		})
		s.that(s.reported(next) == 0, "observedGeneration is %d", s.reported(next))
	}},
	{name: "times in a status are kept to the second", of: defaults, run: func(s *scene) {
		at := time.Date(2030, 1, 1, 0, 0, 1, 123456789, time.UTC)
		next := s.updateStatus(s.create(), func(o client.Object) { stamp(o, metav1.NewTime(at)) })
		later := s.updateStatus(next, func(o client.Object) { stamp(o, metav1.NewTime(at.Add(time.Millisecond))) })
		s.kept(next, later)
		again := copied(next)
		stamp(again, metav1.NewTime(at.Truncate(time.Second)))
		s.same(again, next)
	}},
	{name: "status patch", of: isCustom, run: func(s *scene) {
		o := s.create()
		next, err := s.patchStatus(o, s.says(7))
		s.ok(err)
		s.rose(o, next)
		s.generation(next, s.born)
		s.that(s.reported(next) == 7, "it reports %d", s.reported(next))
		s.same(s.get(o), next)
	}},
	{name: "status patch that changes nothing", of: isCustom, run: func(s *scene) {
		o := s.settled()
		next, err := s.patchStatus(o, func(client.Object) {})
		s.ok(err)
		s.kept(o, next)
	}},
	{name: "status patch of what has changed since", of: isCustom, run: func(s *scene) {
		o := s.create()
		later := s.update(o, annotate)
		_, err := s.patchStatus(o, s.says(7))
		s.refused(err, metav1.StatusReasonConflict)
		s.same(s.get(o), later)
	}},
	{name: "status patch of what is gone", of: isCustom, run: func(s *scene) {
		o := s.create()
		s.ok(s.delete(o))
		_, err := s.patchStatus(o, s.says(7))
		s.refused(err, metav1.StatusReasonNotFound)
	}},
	{name: "status patch of a namesake's", of: isCustom, run: func(s *scene) {
		old := s.create()
		s.ok(s.delete(old))
		o := s.recreate(old)
		_, err := s.patchStatus(old, s.says(7))
		s.refused(err, metav1.StatusReasonConflict)
		s.same(s.get(o), o)
	}},
}

// stamp puts a time into a status, wherever it has one.
func stamp(o client.Object, at metav1.Time) {
	ready := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", LastTransitionTime: at}}
	switch o := o.(type) {
	case *v1alpha1.PeerRemoval:
		o.Status.FencedTime, o.Status.CompletionTime, o.Status.Conditions = &at, &at, ready
	case *v1alpha1.Peer:
		o.Status.Removal, o.Status.Conditions = &v1alpha1.PeerRemovalResult{FencedTime: &at, CompletionTime: &at}, ready
	case *v1alpha1.AddressPool:
		o.Status.Conditions = ready
	}
}
