// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func versionless(o client.Object) { o.SetResourceVersion("") }
func anonymous(o client.Object)   { o.SetUID("") }
func stranger(o client.Object)    { o.SetUID("00000000-0000-4000-8000-ffffffffffff") }

// all makes one change of several.
func all(changes ...func(client.Object)) func(client.Object) {
	return func(o client.Object) {
		for _, change := range changes {
			change(o)
		}
	}
}

var updates = []test{
	{name: "update of what was read", run: func(s *scene) {
		o := s.create()
		next := s.update(o, s.want)
		s.rose(o, next)
		s.generation(next, s.born+1)
		s.same(s.get(o), next)
		s.that(next.GetUID() == o.GetUID(), "another uid")
	}},
	{name: "update of what has changed since", run: func(s *scene) {
		o := s.create()
		s.update(o, annotate)
		s.refusesUpdate(o, metav1.StatusReasonConflict, s.want)
	}},
	{name: "update of what has changed since, to what it is", run: func(s *scene) {
		o := s.create()
		s.update(o, s.want)
		s.refusesUpdate(o, metav1.StatusReasonConflict, s.want)
	}},
	{name: "update with a version to come", run: func(s *scene) {
		s.refusesUpdate(s.create(), metav1.StatusReasonConflict, all(s.want, func(o client.Object) { o.SetResourceVersion("999999999") }))
	}},
	{name: "update without a version is refused", of: demands, run: func(s *scene) {
		s.refusesUpdate(s.create(), metav1.StatusReasonInvalid, all(s.want, versionless))
	}},
	{name: "update without a version overwrites", of: overwrites, run: func(s *scene) {
		o := s.create()
		later := s.update(o, annotate)
		next := s.update(o, all(s.want, versionless))
		s.rose(later, next)
		s.that(len(next.GetAnnotations()) == 0, "annotations stay: %v", next.GetAnnotations())
	}},
	{name: "update without a uid keeps it", run: func(s *scene) {
		o := s.create()
		next := s.update(o, all(s.want, anonymous))
		s.that(next.GetUID() == o.GetUID(), "the uid is %q", next.GetUID())
	}},
	{name: "update with another uid", run: func(s *scene) {
		s.refusesUpdate(s.create(), metav1.StatusReasonConflict, all(s.want, stranger))
	}},
	{name: "update with another uid and no version", run: func(s *scene) {
		s.refusesUpdate(s.create(), metav1.StatusReasonConflict, all(s.want, stranger, versionless))
	}},
	{name: "update that changes nothing", run: func(s *scene) {
		o := s.settled()
		next := s.update(o, func(client.Object) {})
		s.kept(o, next)
		s.same(s.get(o), o)
	}},
	{name: "update of annotations, labels and finalizers", run: func(s *scene) {
		o := s.create()
		next := s.update(o, all(annotate, func(o client.Object) {
			o.SetLabels(map[string]string{"selvage.example/a": "b"})
			o.SetFinalizers([]string{finalizer})
		}))
		s.rose(o, next)
		s.generation(next, s.born)
		s.that(len(next.GetFinalizers()) == 1 && next.GetAnnotations() != nil && next.GetLabels() != nil, "they are not there")
		s.same(s.get(o), next)
	}},
	{name: "update takes no generation and no time from the client", run: func(s *scene) {
		o := s.create()
		next := s.update(o, all(annotate, func(o client.Object) {
			o.SetGeneration(7)
			o.SetCreationTimestamp(metav1.Time{})
		}))
		s.generation(next, s.born)
		s.that(next.GetCreationTimestamp().Unix() == o.GetCreationTimestamp().Unix(), "made at %s", next.GetCreationTimestamp())
	}},
	{name: "update cannot mark for deletion", run: func(s *scene) {
		o := s.create(finalizer)
		s.refusesUpdate(o, metav1.StatusReasonInvalid, func(o client.Object) { o.SetDeletionTimestamp(new(metav1.Now())) })
	}},
	{name: "of two updates of what was read one passes", run: func(s *scene) {
		o := s.create()
		s.update(o, annotate)
		s.refusesUpdate(o, metav1.StatusReasonConflict, func(o client.Object) { o.SetFinalizers([]string{finalizer}) })
	}},
	{name: "update of a Lease keeps microseconds", of: named("Lease"), run: func(s *scene) {
		o := s.create()
		at := time.Date(2030, 1, 1, 0, 0, 0, 123456789, time.UTC)
		next := s.update(o, func(o client.Object) { o.(*coordinationv1.Lease).Spec.RenewTime = new(metav1.NewMicroTime(at)) })
		s.that(next.(*coordinationv1.Lease).Spec.RenewTime.Equal(new(metav1.NewMicroTime(at.Truncate(time.Microsecond)))),
			"renewed at %s", next.(*coordinationv1.Lease).Spec.RenewTime)
		s.same(s.get(o), next)
		again := s.update(next, func(o client.Object) { o.(*coordinationv1.Lease).Spec.RenewTime = new(metav1.NewMicroTime(at)) })
		s.kept(next, again)
	}},
}

// absences are updates of what is not there, or not any more.
var absences = []test{
	{name: "update of what is gone, with its uid", run: func(s *scene) {
		reason := metav1.StatusReasonNotFound
		if s.upserts { // it could be made, if it were not for the uid
			reason = metav1.StatusReasonConflict
		}
		o := s.create()
		s.ok(s.delete(o))
		s.refused(s.api.Update(s.Context(), copied(o)), reason)
		versionless(o)
		s.refused(s.api.Update(s.Context(), copied(o)), reason)
		s.gone(o)
	}},
	{name: "update of what is gone, with its version and no uid, is refused", of: isNot, run: func(s *scene) {
		o := s.create()
		s.ok(s.delete(o))
		anonymous(o)
		s.refused(s.api.Update(s.Context(), copied(o)), metav1.StatusReasonNotFound)
		s.gone(o)
	}},
	{name: "update of what is gone, with its version and no uid, makes it", of: upserts, run: func(s *scene) {
		o := s.create()
		s.ok(s.delete(o))
		next := s.update(o, anonymous)
		s.that(next.GetUID() != o.GetUID() && next.GetUID() != "", "the uid is %q", next.GetUID())
		s.rose(o, next)
		s.same(s.get(o), next)
	}},
	{name: "update of what never was is refused", of: isNot, run: func(s *scene) {
		o := s.draft()
		s.refused(s.api.Update(s.Context(), copied(o)), metav1.StatusReasonNotFound)
		s.gone(o)
	}},
	{name: "update of what never was makes it", of: upserts, run: func(s *scene) {
		o := s.draft()
		next := s.update(o, s.want)
		s.that(next.GetUID() != "", "no uid")
		s.same(s.get(o), next)
	}},
	{name: "update of a namesake's", run: func(s *scene) {
		old := s.create()
		s.ok(s.delete(old))
		o := s.recreate(old)
		s.refusesUpdate(o, metav1.StatusReasonConflict, func(o client.Object) {
			o.SetUID(old.GetUID())
			o.SetResourceVersion(old.GetResourceVersion())
		})
		s.refusesUpdate(o, metav1.StatusReasonConflict, func(o client.Object) { o.SetUID(old.GetUID()) })
		s.refusesUpdate(o, metav1.StatusReasonConflict, all(versionless, func(o client.Object) { o.SetUID(old.GetUID()) }))
		s.refusesUpdate(o, metav1.StatusReasonConflict, all(anonymous, s.want, func(o client.Object) { o.SetResourceVersion(old.GetResourceVersion()) }))
	}},
	{name: "get of what never was", run: func(s *scene) { s.gone(s.draft()) }},
}
