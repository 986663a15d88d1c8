// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver is a kube-apiserver with its etcd for simulations: one
// linearizable store that takes what the real one takes and refuses what it
// refuses, as far as Selvage depends on it. That both are alike is shown by
// running the same tests on both (see the package conformance).
//
// It knows no time and no network: each request is carried out at once, whole.
// What makes it unkind is in between it and its clients.
package apiserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Server is the store. Objects in it, and those that it returns, are never
// changed: who wants to change one copies it first. Not for concurrent use.
type Server struct {
	// Now is the wall clock, for times that people read.
	Now func() time.Time
	// Admit, if set, refuses what a schema's rules would: before is nil for
	// what is created.
	Admit func(before, after client.Object) error
	// Changed is called after each change: before or after is nil for what is
	// created or deleted.
	Changed func(k *Kind, before, after client.Object)

	data    data
	changes []Change
}

// data is what a backup holds.
type data struct {
	version int64
	minted  int64
	tables  map[*Kind]*table
}

// table holds a kind's objects by namespace and name.
type table struct {
	objects map[string]client.Object
	keys    []string // sorted
}

// Change is an entry of the history that watches follow.
type Change struct {
	Kind          *Kind
	Before, After client.Object
	Version       int64
}

// New returns a store without objects.
func New() *Server {
	s := &Server{Now: time.Now, data: data{tables: map[*Kind]*table{}}}
	for _, k := range Kinds {
		s.data.tables[k] = &table{objects: map[string]client.Object{}}
	}
	return s
}

func keyOf(namespace, name string) string { return namespace + "/" + name }

func (t *table) put(key string, o client.Object) {
	if _, there := t.objects[key]; !there {
		at, _ := slices.BinarySearch(t.keys, key)
		t.keys = slices.Insert(t.keys, at, key)
	}
	t.objects[key] = o
}

func (t *table) drop(key string) {
	delete(t.objects, key)
	if at, there := slices.BinarySearch(t.keys, key); there {
		t.keys = slices.Delete(t.keys, at, at+1)
	}
}

// Get returns an object, or the error NotFound.
func (s *Server) Get(k *Kind, namespace, name string) (client.Object, error) {
	o, there := s.data.tables[k].objects[keyOf(namespace, name)]
	if !there {
		return nil, apierrors.NewNotFound(k.Resource, name)
	}
	return o, nil
}

// List returns all objects of a namespace, or of all, by name: as they are at
// one moment.
func (s *Server) List(k *Kind, namespace string) []client.Object {
	t := s.data.tables[k]
	out := make([]client.Object, 0, len(t.keys))
	for _, key := range t.keys {
		if namespace == "" || strings.HasPrefix(key, namespace+"/") {
			out = append(out, t.objects[key])
		}
	}
	return out
}

// Version is the number of changes that there were.
func (s *Server) Version() int64 { return s.data.version }

// History are the changes from the n-th on; n counts those that this process
// has seen.
func (s *Server) History(n int) []Change { return s.changes[n:] }

// Seen is how many changes History has.
func (s *Server) Seen() int { return len(s.changes) }

// commit makes a change durable.
func (s *Server) commit(k *Kind, before, after client.Object) {
	s.data.version++
	o := after
	if o == nil {
		o = before
		s.data.tables[k].drop(keyOf(o.GetNamespace(), o.GetName()))
	} else {
		o.SetResourceVersion(strconv.FormatInt(s.data.version, 10))
		s.data.tables[k].put(keyOf(o.GetNamespace(), o.GetName()), o)
	}
	s.changes = append(s.changes, Change{k, before, after, s.data.version})
	if s.Changed != nil {
		s.Changed(k, before, after)
	}
}

func (s *Server) mint() types.UID {
	s.data.minted++
	return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", s.data.minted))
}

// Create makes an object, which is the store's from then on. Its status is left
// out where that is a resource of its own.
func (s *Server) Create(o client.Object) (client.Object, error) {
	k := KindOf(o)
	if o.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + strconv.FormatInt(s.data.minted, 36))
	}
	if _, there := s.data.tables[k].objects[keyOf(o.GetNamespace(), o.GetName())]; there {
		return nil, apierrors.NewAlreadyExists(k.Resource, o.GetName())
	}
	if k.split && k.custom {
		k.setStatus(o, nil)
	}
	o.SetUID(s.mint())
	o.SetCreationTimestamp(metav1.NewTime(s.Now()).Rfc3339Copy())
	o.SetDeletionTimestamp(nil)
	if k.custom {
		o.SetGeneration(1)
	}
	if err := s.admit(nil, o); err != nil {
		return nil, err
	}
	s.commit(k, nil, o)
	return o, nil
}

func (s *Server) admit(before, after client.Object) error {
	if s.Admit == nil {
		return nil
	}
	return s.Admit(before, after)
}

// Update is a PUT of an object, or of its status; what is handed over is the
// store's from then on. It compares and swaps: with a
// resourceVersion that is not the object's it is a conflict, and so it is with
// another uid.
func (s *Server) Update(o client.Object, status bool) (client.Object, error) {
	k := KindOf(o)
	before, there := s.data.tables[k].objects[keyOf(o.GetNamespace(), o.GetName())]
	switch {
	case !there && k.upsert && !status && o.GetUID() == "":
		o.SetResourceVersion("")
		return s.Create(o)
	case !there && o.GetUID() != "":
		return nil, conflict(k, o, fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: ", o.GetUID()))
	case !there:
		return nil, apierrors.NewNotFound(k.Resource, o.GetName())
	case o.GetUID() != "" && o.GetUID() != before.GetUID():
		return nil, conflict(k, o, fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: %s", o.GetUID(), before.GetUID()))
	case o.GetResourceVersion() == "" && k.custom:
		return nil, invalid(k, o, field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"))
	case o.GetResourceVersion() != "" && o.GetResourceVersion() != before.GetResourceVersion():
		return nil, conflict(k, o, "the object has been modified; please apply your changes to the latest version and try again")
	}
	after := s.merged(k, before, o, status)
	if before.GetDeletionTimestamp() != nil && adds(before.GetFinalizers(), after.GetFinalizers()) {
		return nil, invalid(k, o, field.Forbidden(field.NewPath("metadata", "finalizers"), "no new finalizers can be added if the object is being deleted"))
	}
	if err := s.admit(before, after); err != nil {
		return nil, err
	}
	return s.replace(k, before, after), nil
}

// merged is what an update makes of an object: a request about the object says
// nothing about its status, and the other way round.
func (s *Server) merged(k *Kind, before, o client.Object, status bool) client.Object {
	after := o
	switch {
	case status:
		after = before.DeepCopyObject().(client.Object)
		k.setStatus(after, o)
	case k.split:
		k.setStatus(after, before.DeepCopyObject().(client.Object))
	}
	after.SetUID(before.GetUID())
	after.SetResourceVersion(before.GetResourceVersion())
	after.SetCreationTimestamp(before.GetCreationTimestamp())
	after.SetDeletionTimestamp(before.GetDeletionTimestamp())
	after.SetDeletionGracePeriodSeconds(before.GetDeletionGracePeriodSeconds())
	after.SetGeneration(before.GetGeneration())
	if k.custom && !k.sameSpec(before, after) {
		after.SetGeneration(before.GetGeneration() + 1)
	}
	return after
}

// replace stores what has changed. Writing what is there already changes
// nothing, not even the version.
func (s *Server) replace(k *Kind, before, after client.Object) client.Object {
	if equality.Semantic.DeepEqual(before, after) {
		return before
	}
	if after.GetDeletionTimestamp() != nil && len(after.GetFinalizers()) == 0 {
		after.SetResourceVersion(strconv.FormatInt(s.data.version+1, 10))
		s.commit(k, before, nil)
		return after
	}
	s.commit(k, before, after)
	return after
}

// Delete deletes an object, or marks it as to be deleted if it has finalizers.
// The preconditions are a uid and a resourceVersion; nil: any.
func (s *Server) Delete(k *Kind, namespace, name string, pre *metav1.Preconditions) error {
	before, err := s.Get(k, namespace, name)
	if err != nil {
		return err
	}
	if pre != nil && pre.UID != nil && *pre.UID != before.GetUID() {
		return conflict(k, before, fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: %s", *pre.UID, before.GetUID()))
	}
	if pre != nil && pre.ResourceVersion != nil && *pre.ResourceVersion != before.GetResourceVersion() {
		return conflict(k, before, fmt.Sprintf("Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s",
			*pre.ResourceVersion, before.GetResourceVersion()))
	}
	switch {
	case len(before.GetFinalizers()) == 0:
		s.commit(k, before, nil)
	case before.GetDeletionTimestamp() == nil:
		after := before.DeepCopyObject().(client.Object)
		now := metav1.NewTime(s.Now()).Rfc3339Copy()
		after.SetDeletionTimestamp(&now)
		if k.custom {
			grace := int64(0)
			after.SetDeletionGracePeriodSeconds(&grace)
			after.SetGeneration(before.GetGeneration() + 1)
		}
		s.commit(k, before, after)
	}
	return nil
}

// Strip takes an object away whatever its finalizers, as people do by hand.
func (s *Server) Strip(k *Kind, namespace, name string) {
	if before, err := s.Get(k, namespace, name); err == nil {
		s.commit(k, before, nil)
	}
}

func adds(before, after []string) bool {
	return slices.ContainsFunc(after, func(f string) bool { return !slices.Contains(before, f) })
}

func conflict(k *Kind, o client.Object, text string) error {
	return apierrors.NewConflict(k.Resource, o.GetName(), fmt.Errorf("%s", text))
}

func invalid(k *Kind, o client.Object, errs ...*field.Error) error {
	return apierrors.NewInvalid(k.kind, o.GetName(), errs)
}
