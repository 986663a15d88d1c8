// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func onlyUID(uid types.UID) client.DeleteOption { return client.Preconditions{UID: &uid} }

func onlyVersion(v string) client.DeleteOption { return client.Preconditions{ResourceVersion: &v} }

// only is exactly what was read.
func only(o client.Object) client.DeleteOption {
	return client.Preconditions{UID: new(o.GetUID()), ResourceVersion: new(o.GetResourceVersion())}
}

func without(finalizers ...string) func(client.Object) {
	return func(o client.Object) {
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return slices.Contains(finalizers, f) }))
	}
}

func add(finalizer string) func(client.Object) {
	return func(o client.Object) { o.SetFinalizers(append(slices.Clone(o.GetFinalizers()), finalizer)) }
}

var deletions = []test{
	{name: "delete", run: func(s *scene) {
		o := s.create()
		s.ok(s.delete(o))
		s.gone(o)
		s.refused(s.delete(o), metav1.StatusReasonNotFound)
	}},
	{name: "delete of what never was", run: func(s *scene) {
		o := s.draft()
		s.refused(s.delete(o), metav1.StatusReasonNotFound)
		s.refused(s.delete(o, onlyUID("any")), metav1.StatusReasonNotFound)
		s.refused(s.delete(o, onlyVersion("1")), metav1.StatusReasonNotFound)
	}},
	{name: "delete of exactly what was read", run: func(s *scene) {
		o := s.create()
		s.ok(s.delete(o, only(o)))
		s.gone(o)
	}},
	{name: "delete of another uid", run: func(s *scene) {
		o := s.create()
		s.refused(s.delete(o, onlyUID("another")), metav1.StatusReasonConflict)
		s.refused(s.delete(o, client.Preconditions{UID: new(types.UID("another")), ResourceVersion: new(o.GetResourceVersion())}), metav1.StatusReasonConflict)
		s.same(s.get(o), o)
		s.ok(s.delete(o, onlyUID(o.GetUID())))
		s.gone(o)
	}},
	{name: "delete of another version", run: func(s *scene) {
		o := s.create()
		later := s.update(o, annotate)
		s.refused(s.delete(o, onlyVersion(o.GetResourceVersion())), metav1.StatusReasonConflict)
		s.refused(s.delete(o, only(o)), metav1.StatusReasonConflict)
		s.same(s.get(o), later)
		s.ok(s.delete(o, onlyVersion(later.GetResourceVersion())))
		s.gone(o)
	}},
	{name: "delete of a namesake's", run: func(s *scene) {
		old := s.create()
		s.ok(s.delete(old))
		o := s.recreate(old)
		s.refused(s.delete(o, only(old)), metav1.StatusReasonConflict)
		s.refused(s.delete(o, onlyUID(old.GetUID())), metav1.StatusReasonConflict)
		s.refused(s.delete(o, onlyVersion(old.GetResourceVersion())), metav1.StatusReasonConflict)
		s.same(s.get(o), o)
	}},
	{name: "delete, after a status update, of what was read before", of: hasStatus, run: func(s *scene) {
		o := s.create()
		later := s.updateStatus(o, s.says(7))
		s.refused(s.delete(o, only(o)), metav1.StatusReasonConflict)
		s.same(s.get(o), later)
	}},
}

// endings are about objects that finalizers hold.
var endings = []test{
	{name: "delete with a finalizer marks", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		now := s.get(o)
		s.that(now.GetDeletionTimestamp() != nil && now.GetDeletionTimestamp().Nanosecond() == 0, "deleted at %v", now.GetDeletionTimestamp())
		s.that(now.GetDeletionGracePeriodSeconds() != nil && *now.GetDeletionGracePeriodSeconds() == 0, "grace: %v", now.GetDeletionGracePeriodSeconds())
		s.rose(o, now)
		s.generation(now, s.born+1)
		s.that(now.GetUID() == o.GetUID(), "another uid")
	}},
	{name: "delete of what is being deleted changes nothing", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		marked := s.get(o)
		s.ok(s.delete(o))
		s.ok(s.delete(o, only(marked)))
		s.refused(s.delete(o, only(o)), metav1.StatusReasonConflict)
		s.refused(s.delete(o, onlyUID("another")), metav1.StatusReasonConflict)
		s.same(s.get(o), marked)
	}},
	{name: "delete with a finalizer of another version", run: func(s *scene) {
		o := s.create(finalizer)
		later := s.update(o, annotate)
		s.refused(s.delete(o, only(o)), metav1.StatusReasonConflict)
		s.same(s.get(o), later)
	}},
	{name: "the last finalizer's removal ends it", run: func(s *scene) {
		o := s.create(finalizer, another)
		s.ok(s.delete(o))
		marked := s.get(o)
		left := s.update(marked, without(another))
		s.rose(marked, left)
		s.generation(left, s.born+1)
		last := s.update(left, without(finalizer))
		s.that(len(last.GetFinalizers()) == 0 && last.GetUID() == o.GetUID(), "the answer is another object")
		s.gone(o)
	}},
	{name: "the last finalizer's removal, of what was read before the deletion", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		s.refusesUpdate(o, metav1.StatusReasonConflict, without(finalizer))
	}},
	{name: "the last finalizer's removal, of another uid", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		s.refusesUpdate(s.get(o), metav1.StatusReasonConflict, all(without(finalizer), stranger))
	}},
	{name: "the last finalizer's removal together with a change", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		s.update(s.get(o), all(without(finalizer), s.want))
		s.gone(o)
	}},
	{name: "finalizers removed before a deletion", run: func(s *scene) {
		o := s.create(finalizer)
		next := s.update(o, without(finalizer))
		s.same(s.get(o), next)
		s.ok(s.delete(o))
		s.gone(o)
	}},
	{name: "no new finalizer while it is being deleted", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		s.refusesUpdate(s.get(o), metav1.StatusReasonInvalid, add(another))
		s.refusesUpdate(s.get(o), metav1.StatusReasonInvalid, all(without(finalizer), add(another)))
	}},
	{name: "what is being deleted can change", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		next := s.update(s.get(o), s.want)
		s.generation(next, s.born+2)
		s.same(s.get(o), next)
	}},
	{name: "no update takes a deletion back", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		marked := s.get(o)
		next := s.update(marked, all(annotate, func(o client.Object) {
			o.SetDeletionTimestamp(nil)
			o.SetDeletionGracePeriodSeconds(nil)
		}))
		s.that(next.GetDeletionTimestamp().Equal(marked.GetDeletionTimestamp()), "deleted at %v", next.GetDeletionTimestamp())
	}},
	{name: "the status of what is being deleted can change", of: hasStatus, run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		next := s.updateStatus(s.get(o), s.says(7))
		s.generation(next, s.born+1)
		s.that(s.reported(next) == 7 && next.GetDeletionTimestamp() != nil, "it reports %d", s.reported(next))
		s.same(s.get(o), next)
	}},
	{name: "a status update does not remove the last finalizer", of: isCustom, run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		next := s.updateStatus(s.get(o), all(s.says(7), without(finalizer)))
		s.same(s.get(o), next)
	}},
	{name: "what was held is made anew under its name", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		s.update(s.get(o), without(finalizer))
		next := s.recreate(o)
		s.that(next.GetUID() != o.GetUID() && next.GetDeletionTimestamp() == nil, "it is the same object")
		s.generation(next, s.born)
	}},
}
