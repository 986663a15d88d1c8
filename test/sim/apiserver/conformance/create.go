// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var creations = []test{
	{name: "create gives a uid, a version, a time and a generation", run: func(s *scene) {
		o := s.create()
		s.that(o.GetUID() != "" && o.GetCreationTimestamp().Unix() > 0, "uid %q, made %s", o.GetUID(), o.GetCreationTimestamp())
		s.that(version(s, o) > 0, "resourceVersion %q", o.GetResourceVersion())
		s.that(o.GetCreationTimestamp().Nanosecond() == 0, "made at %s", o.GetCreationTimestamp())
		s.generation(o, s.born)
		s.same(s.get(o), o)
	}},
	{name: "create takes none of these from the client", run: func(s *scene) {
		o, now := s.draft(), metav1.Now()
		o.SetUID("mine")
		o.SetGeneration(7)
		o.SetCreationTimestamp(metav1.NewTime(time.Unix(1e9, 0)))
		o.SetDeletionTimestamp(&now)
		s.ok(s.api.Create(s.Context(), o))
		s.that(o.GetUID() != "mine", "the uid is the client's")
		s.that(o.GetCreationTimestamp().Unix() != 1e9, "the time is the client's")
		s.that(o.GetDeletionTimestamp() == nil, "it is born deleted")
		if isCounted(s.kind) {
			s.generation(o, s.born)
		}
	}},
	{name: "create of what is there", run: func(s *scene) {
		o := s.create()
		again := copied(o)
		again.SetResourceVersion("")
		again.SetUID("")
		s.refused(s.api.Create(s.Context(), again), metav1.StatusReasonAlreadyExists)
		s.same(s.get(o), o)
	}},
	{name: "create of what is there and is being deleted", run: func(s *scene) {
		o := s.create(finalizer)
		s.ok(s.delete(o))
		again := s.get(o)
		again.SetResourceVersion("")
		s.refused(s.api.Create(s.Context(), again), metav1.StatusReasonAlreadyExists)
	}},
	{name: "create with a resourceVersion", run: func(s *scene) {
		o := s.draft()
		o.SetResourceVersion("1")
		s.refused(s.api.Create(s.Context(), o), metav1.StatusReasonUnknown)
		s.gone(o)
	}},
	{name: "create without a name", of: named("Event", "Lease", "Pod", "AddressPool"), run: func(s *scene) {
		names, prefix := map[string]bool{}, "made-"
		for range 3 {
			o := s.draft()
			o.SetName("")
			o.SetGenerateName(prefix)
			s.ok(s.api.Create(s.Context(), o))
			s.that(strings.HasPrefix(o.GetName(), prefix) && len(o.GetName()) > len(prefix), "named %q", o.GetName())
			s.that(!names[o.GetName()], "named %q twice", o.GetName())
			names[o.GetName()] = true
			s.same(s.get(o), o)
		}
	}},
	{name: "create drops a status", of: func(k kind) bool { return hasStatus(k) && !k.keepsStatus }, run: func(s *scene) {
		o, other := s.draft(), s.draft()
		s.report(o, 7)
		s.ok(s.api.Create(s.Context(), o))
		s.ok(s.api.Create(s.Context(), other))
		s.that(s.reported(o) == s.reported(other), "it reports %d", s.reported(o))
		s.same(s.get(o), o)
	}},
	{name: "create keeps a status", of: func(k kind) bool { return k.keepsStatus }, run: func(s *scene) {
		o := s.draft()
		s.report(o, 7)
		s.ok(s.api.Create(s.Context(), o))
		s.that(s.reported(o) == 7, "it reports %d", s.reported(o))
	}},
	{name: "create defaults the status", of: defaults, run: func(s *scene) {
		o := s.create()
		s.that(s.reported(o) == -1, "observedGeneration is %d", s.reported(o))
	}},
	{name: "create after a deletion makes another object", run: func(s *scene) {
		old := s.create()
		s.ok(s.delete(old))
		o := s.recreate(old)
		s.that(o.GetUID() != old.GetUID(), "the uid is the same")
		s.rose(old, o)
		s.generation(o, s.born)
	}},
}

const (
	finalizer = "selvage.example/first"
	another   = "selvage.example/second"
)

func annotate(o client.Object) { o.SetAnnotations(map[string]string{"selvage.example/note": "seen"}) }
