// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// listed is all that a LIST returns, and its version.
func (s *scene) listed(opts ...client.ListOption) ([]client.Object, string) {
	s.Helper()
	list := s.list()
	s.ok(s.api.List(s.Context(), list, opts...))
	items, err := meta.ExtractList(list)
	s.ok(err)
	var out []client.Object
	for _, item := range items {
		out = append(out, item.(client.Object))
	}
	return out, list.GetResourceVersion()
}

func find(objects []client.Object, o client.Object) client.Object {
	at := slices.IndexFunc(objects, func(other client.Object) bool {
		return other.GetName() == o.GetName() && other.GetNamespace() == o.GetNamespace()
	})
	if at < 0 {
		return nil
	}
	return objects[at]
}

var readings = []test{
	{name: "LIST has every write before it", run: func(s *scene) {
		for range 3 {
			o := s.create()
			objects, at := s.listed()
			s.same(find(objects, o), o)
			next := s.update(o, s.want)
			objects, later := s.listed()
			s.same(find(objects, o), next)
			s.ok(s.delete(o))
			objects, last := s.listed()
			s.that(find(objects, o) == nil, "it is still there")
			s.that(at != later && later != last, "versions %s, %s, %s", at, later, last)
		}
	}},
	{name: "LIST is sorted by namespace and name", run: func(s *scene) {
		for range 11 {
			s.create()
		}
		objects, _ := s.listed()
		s.that(len(objects) >= 11, "%d are listed", len(objects))
		s.that(slices.IsSortedFunc(objects, func(a, b client.Object) int {
			if k, l := a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName(); k < l {
				return -1
			} else if k > l {
				return 1
			}
			return 0
		}), "they are not sorted")
	}},
	{name: "LIST is no older than what it lists", run: func(s *scene) {
		s.create()
		objects, at := s.listed()
		o := copied(objects[0])
		o.SetResourceVersion(at)
		for _, other := range objects {
			s.that(version(s, other) <= version(s, o), "%s has version %s", other.GetName(), other.GetResourceVersion())
		}
	}},
	{name: "LIST of a namespace", of: func(k kind) bool { return k.namespaced }, run: func(s *scene) {
		here, there := s.create(), s.draft()
		there.SetNamespace(Elsewhere)
		if e, is := there.(*corev1.Event); is {
			e.InvolvedObject.Namespace = Elsewhere
		}
		s.ok(s.api.Create(s.Context(), there))
		objects, _ := s.listed(client.InNamespace(Namespace))
		s.that(find(objects, here) != nil && find(objects, there) == nil, "there are others, or none")
		objects, _ = s.listed(client.InNamespace(Elsewhere))
		s.that(find(objects, here) == nil && find(objects, there) != nil, "there are others, or none")
		objects, _ = s.listed()
		s.that(find(objects, here) != nil && find(objects, there) != nil, "one is missing")
	}},
	{name: "LIST by name", run: func(s *scene) {
		o, other := s.create(), s.create()
		objects, _ := s.listed(client.MatchingFields{"metadata.name": o.GetName()})
		s.that(len(objects) == 1, "%d are listed", len(objects))
		s.same(objects[0], o)
		s.ok(s.delete(other))
		objects, _ = s.listed(client.MatchingFields{"metadata.name": other.GetName()})
		s.that(len(objects) == 0, "%d are listed", len(objects))
	}},
	{name: "LIST of a node's pods", of: named("Pod"), run: func(s *scene) {
		o, _ := s.create(), s.create()
		objects, _ := s.listed(client.MatchingFields{"spec.nodeName": o.(*corev1.Pod).Spec.NodeName})
		s.that(len(objects) == 1, "%d are listed", len(objects))
		s.same(objects[0], o)
	}},
	{name: "no two writes have the same version, and later ones have higher", run: func(s *scene) {
		a, b := s.create(), s.create()
		last := version(s, b)
		s.that(last > version(s, a), "%s after %s", b.GetResourceVersion(), a.GetResourceVersion())
		for range 3 {
			for _, o := range []*client.Object{&a, &b} {
				*o = s.update(*o, func(o client.Object) {
					o.SetAnnotations(map[string]string{"selvage.example/note": o.GetResourceVersion()})
				})
				s.that(version(s, *o) > last, "%s after %d", (*o).GetResourceVersion(), last)
				last = version(s, *o)
			}
		}
	}},
}

// event is what a watch has to bring next.
type event struct {
	kind watch.EventType
	o    client.Object
}

// follows: the watch brings these events about those objects, in this order.
func (s *scene) follows(w watch.Interface, want ...event) {
	s.Helper()
	for i, e := range want {
		select {
		case got, open := <-w.ResultChan():
			s.that(open, "the watch has ended before event %d", i)
			s.that(got.Type == e.kind, "event %d is %s of %+v, want %s", i, got.Type, got.Object, e.kind)
			o := got.Object.(client.Object)
			if e.kind == watch.Deleted { // with the version of its end
				s.rose(e.o, o)
				o.SetResourceVersion(e.o.GetResourceVersion())
			}
			s.same(o, e.o)
		case <-time.After(30 * time.Second):
			s.Fatalf("event %d has not come", i)
		}
	}
}

func (s *scene) watch(opts ...client.ListOption) watch.Interface {
	s.Helper()
	w, err := s.api.Watch(s.Context(), s.list(), opts...)
	s.ok(err)
	s.Cleanup(w.Stop)
	return w
}

func since(at string) client.ListOption {
	return &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: at}}
}

var watches = []test{
	{name: "watch brings every write since a LIST, in order", run: func(s *scene) {
		_, at := s.listed()
		o := s.create()
		w := s.watch(since(at))
		changed := s.update(o, s.want)
		s.update(changed, func(client.Object) {}) // nothing: no event
		s.ok(s.delete(o))
		again := s.recreate(o)
		s.follows(w, event{watch.Added, o}, event{watch.Modified, changed})
		if s.graceful { // it is marked first
			e := <-w.ResultChan()
			marked := e.Object.(client.Object)
			s.that(e.Type == watch.Modified && marked.GetDeletionTimestamp() != nil, "%s of %s", e.Type, shown(marked))
			s.rose(changed, marked)
			s.generation(marked, changed.GetGeneration()+1)
			changed = marked
		}
		s.follows(w, event{watch.Deleted, changed}, event{watch.Added, again})
	}},
	{name: "watch of an end that a finalizer holds up", run: func(s *scene) {
		_, at := s.listed()
		o := s.create(finalizer, another)
		s.ok(s.delete(o))
		marked := s.get(o)
		s.ok(s.delete(o)) // nothing: no event
		left := s.update(marked, without(another))
		s.update(left, without(finalizer))
		s.follows(s.watch(since(at)), event{watch.Added, o}, event{watch.Modified, marked}, event{watch.Modified, left}, event{watch.Deleted, left})
	}},
	{name: "watch of status updates", of: hasStatus, run: func(s *scene) {
		o := s.create()
		w := s.watch(since(o.GetResourceVersion()))
		next := s.updateStatus(o, s.says(7))
		s.follows(w, event{watch.Modified, next})
	}},
	{name: "watch of one by name", run: func(s *scene) {
		_, at := s.listed()
		s.create()
		o := s.draft()
		w := s.watch(since(at), client.MatchingFields{"metadata.name": o.GetName()})
		s.ok(s.api.Create(s.Context(), o))
		s.update(s.create(), s.want)
		next := s.update(o, s.want)
		s.follows(w, event{watch.Added, o}, event{watch.Modified, next})
	}},
}
