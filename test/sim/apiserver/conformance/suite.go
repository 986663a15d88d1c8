// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conformance holds what Selvage's controller and agents rely on an API
// server for, as cases that any client can run. The simulated API server passes
// them, and so does the real one: that is why a simulation's findings count.
package conformance

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Namespace and Elsewhere are where the cases keep what has a namespace. They
// have to be there, with their default service accounts.
const (
	Namespace = "default"
	Elsewhere = "kube-system"
)

// API is what the cases need of a client: a client.WithWatch has it.
type API interface {
	client.Reader
	client.StatusClient
	Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error
	Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error
	Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error
	Watch(ctx context.Context, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error)
}

// test is one case, of one kind.
type test struct {
	name string
	// of are the kinds that it is about; nil: all.
	of  func(kind) bool
	run func(*scene)
}

// Run runs all cases about the server itself, each with the API that it is
// given then: one server for all, or one each.
func Run(t *testing.T, open func(*testing.T) API) {
	made := 0
	for _, group := range [][]test{creations, updates, absences, statuses, deletions, endings, readings, watches} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				for _, k := range kinds {
					if c.of != nil && !c.of(k) {
						continue
					}
					t.Run(k.name, func(t *testing.T) {
						c.run(&scene{TB: t, kind: k, api: open(t), made: &made})
					})
				}
			})
		}
	}
}

// scene is where a case happens: a server, and a kind of object. What goes
// wrong ends the case.
type scene struct {
	testing.TB
	kind
	api API
	// made counts objects, so that no two have the same name.
	made *int
}

// draft is a new object, with a name of its own, that is not there yet.
func (s *scene) draft() client.Object {
	*s.made++
	return s.kind.draft(*s.made)
}

// create has the API make a new object.
func (s *scene) create(finalizers ...string) client.Object {
	s.Helper()
	o := s.draft()
	o.SetFinalizers(finalizers)
	s.ok(s.api.Create(s.Context(), o))
	return o
}

// settled is a new object that was written once more, so that its defaults are
// stored.
func (s *scene) settled() client.Object {
	s.Helper()
	return s.update(s.create(), annotate)
}

// recreate makes an object anew under the same name.
func (s *scene) recreate(old client.Object) client.Object {
	s.Helper()
	o := copied(old)
	o.SetResourceVersion("")
	s.ok(s.api.Create(s.Context(), o))
	return o
}

// get reads the object as it is now.
func (s *scene) get(o client.Object) client.Object {
	s.Helper()
	now := reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
	s.ok(s.api.Get(s.Context(), client.ObjectKeyFromObject(o), now))
	return now
}

// gone: the object is not there.
func (s *scene) gone(o client.Object) {
	s.Helper()
	s.refused(s.api.Get(s.Context(), client.ObjectKeyFromObject(o), copied(o)), metav1.StatusReasonNotFound)
}

// update writes a changed copy of an object, and returns what came of it.
func (s *scene) update(o client.Object, change func(client.Object)) client.Object {
	s.Helper()
	next := copied(o)
	change(next)
	s.ok(s.api.Update(s.Context(), next))
	return next
}

// refusesUpdate: a changed copy is refused, and nothing has changed.
func (s *scene) refusesUpdate(o client.Object, reason metav1.StatusReason, change func(client.Object)) {
	s.Helper()
	before := s.get(o)
	next := copied(o)
	change(next)
	s.refused(s.api.Update(s.Context(), next), reason)
	s.same(s.get(o), before)
}

// delete deletes an object at once: pods too, which otherwise have a grace.
func (s *scene) delete(o client.Object, opts ...client.DeleteOption) error {
	return s.api.Delete(s.Context(), copied(o), append(opts, client.GracePeriodSeconds(0))...)
}

func (s *scene) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("refused: %v", err)
	}
}

func (s *scene) refused(err error, want metav1.StatusReason) {
	s.Helper()
	if err == nil {
		s.Fatalf("passed; want %s", want)
	}
	if got := apierrors.ReasonForError(err); got != want {
		s.Fatalf("refused with %q, want %q: %v", got, want, err)
	}
}

func (s *scene) that(is bool, format string, args ...any) {
	s.Helper()
	if !is {
		s.Fatalf(format, args...)
	}
}

// same: two objects are equal, whoever manages which field.
func (s *scene) same(got, want client.Object) {
	s.Helper()
	got, want = bare(got), bare(want)
	s.that(equality.Semantic.DeepEqual(got, want), "got %s\nwant %s", shown(got), shown(want))
}

// rose: a write has happened between the two.
func (s *scene) rose(before, after client.Object) {
	s.Helper()
	s.that(version(s, after) > version(s, before), "resourceVersion %s after %s", after.GetResourceVersion(), before.GetResourceVersion())
}

// kept: no write has happened between the two.
func (s *scene) kept(before, after client.Object) {
	s.Helper()
	s.that(after.GetResourceVersion() == before.GetResourceVersion(), "resourceVersion %s after %s", after.GetResourceVersion(), before.GetResourceVersion())
}

func (s *scene) generation(o client.Object, want int64) {
	s.Helper()
	if s.born == 0 {
		want = 0 // it has none
	}
	s.that(o.GetGeneration() == want, "generation %d, want %d", o.GetGeneration(), want)
}

func version(s *scene, o client.Object) int64 {
	s.Helper()
	var n int64
	if _, err := fmt.Sscanf(o.GetResourceVersion(), "%d", &n); err != nil {
		s.Fatalf("resourceVersion %q: %v", o.GetResourceVersion(), err)
	}
	return n
}

func bare(o client.Object) client.Object {
	o = copied(o)
	o.SetManagedFields(nil)
	reflect.ValueOf(o).Elem().FieldByName("TypeMeta").SetZero()
	return o
}

func shown(o client.Object) string { return fmt.Sprintf("%+v", reflect.ValueOf(o).Elem().Interface()) }

func copied(o client.Object) client.Object { return o.DeepCopyObject().(client.Object) }
