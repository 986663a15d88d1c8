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
	"net/http"
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
	// compacted is how many changes were before those.
	compacted int
}

// kept is how many changes are kept at least.
const kept = 4096

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
	// unwritten are those whose defaults are not stored yet: the next update
	// writes, even if it changes nothing.
	unwritten map[string]bool
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
		s.data.tables[k] = &table{objects: map[string]client.Object{}, unwritten: map[string]bool{}}
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
// has seen. What is long ago is forgotten: it panics.
func (s *Server) History(n int) []Change { return s.changes[n-s.compacted:] }

// Seen is how many changes there were in this process.
func (s *Server) Seen() int { return s.compacted + len(s.changes) }

// commit makes a change durable.
func (s *Server) commit(k *Kind, before, after client.Object) {
	s.data.version++
	o, table := after, s.data.tables[k]
	if o == nil {
		o = before
	}
	key := keyOf(o.GetNamespace(), o.GetName())
	delete(table.unwritten, key)
	if after == nil {
		table.drop(key)
	} else {
		o.SetResourceVersion(strconv.FormatInt(s.data.version, 10))
		table.put(key, o)
	}
	if len(s.changes) >= 2*kept {
		s.compacted += kept
		s.changes = slices.Clone(s.changes[kept:])
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
		return nil, unexpected("resourceVersion should not be set on objects to be created")
	}
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + strconv.FormatInt(s.data.minted, 36))
	}
	if _, there := s.data.tables[k].objects[keyOf(o.GetNamespace(), o.GetName())]; there {
		return nil, apierrors.NewAlreadyExists(k.Resource, o.GetName())
	}
	if k.split && !k.whole {
		k.setStatus(o, nil)
	}
	o.SetUID(s.mint())
	o.SetCreationTimestamp(s.now())
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	if k.sameSpec != nil {
		o.SetGeneration(1)
	}
	if k.round != nil {
		k.round(o)
	}
	if err := s.admit(nil, o); err != nil {
		return nil, err
	}
	s.commit(k, nil, o)
	if k.defaulted {
		s.data.tables[k].unwritten[keyOf(o.GetNamespace(), o.GetName())] = true
	}
	return o, nil
}

// now is the wall clock as objects show it.
func (s *Server) now() metav1.Time { return metav1.NewTime(s.Now().Truncate(time.Second)) }

func (s *Server) admit(before, after client.Object) error {
	if s.Admit == nil {
		return nil
	}
	return s.Admit(before, after)
}

// Update is a PUT of an object, or of its status; what is handed over is the
// store's from then on. It compares and swaps: with a resourceVersion that is
// not the object's it is a conflict, and so it is with another uid. A merge
// patch that carries the version it was made for comes to the same.
func (s *Server) Update(o client.Object, status bool) (client.Object, error) {
	k := KindOf(o)
	before, there := s.data.tables[k].objects[keyOf(o.GetNamespace(), o.GetName())]
	switch {
	case !there && !k.upsert:
		return nil, apierrors.NewNotFound(k.Resource, o.GetName())
	case !there && o.GetUID() == "":
		o.SetResourceVersion("")
		return s.Create(o)
	case !there:
		return nil, conflict(k, o, fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: ", o.GetUID()))
	case o.GetUID() != "" && o.GetUID() != before.GetUID():
		return nil, conflict(k, o, fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: %s", o.GetUID(), before.GetUID()))
	case o.GetResourceVersion() == "" && !k.overwrite:
		return nil, invalid(k, o, field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"))
	case o.GetResourceVersion() != "" && o.GetResourceVersion() != before.GetResourceVersion():
		return nil, conflict(k, o, "the object has been modified; please apply your changes to the latest version and try again")
	case !status && before.GetDeletionTimestamp() == nil && o.GetDeletionTimestamp() != nil:
		return nil, invalid(k, o, field.Invalid(field.NewPath("metadata", "deletionTimestamp"), o.GetDeletionTimestamp(), "field is immutable"))
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
	if !status && k.sameSpec != nil && !k.sameSpec(before, after) {
		after.SetGeneration(before.GetGeneration() + 1)
	}
	if k.round != nil {
		k.round(after)
	}
	return after
}

// replace stores what has changed. Writing what is there already changes
// nothing, not even the version.
func (s *Server) replace(k *Kind, before, after client.Object) client.Object {
	if !s.data.tables[k].unwritten[keyOf(before.GetNamespace(), before.GetName())] &&
		(k.differ == nil || !k.differ(before, after)) && equality.Semantic.DeepEqual(before, after) {
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
	held := len(before.GetFinalizers()) > 0
	if before.GetDeletionTimestamp() == nil && (held || k.graceful) {
		before = s.mark(k, before)
	}
	if !held {
		s.commit(k, before, nil)
	}
	return nil
}

// mark marks an object as to be deleted.
func (s *Server) mark(k *Kind, before client.Object) client.Object {
	after := before.DeepCopyObject().(client.Object)
	now, grace := s.now(), int64(0)
	after.SetDeletionTimestamp(&now)
	after.SetDeletionGracePeriodSeconds(&grace)
	if k.sameSpec != nil {
		after.SetGeneration(before.GetGeneration() + 1)
	}
	s.commit(k, before, after)
	return after
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

// unexpected is an error that the API server has no reason for.
func unexpected(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: text}}
}

func conflict(k *Kind, o client.Object, text string) error {
	return apierrors.NewConflict(k.Resource, o.GetName(), fmt.Errorf("%s", text))
}

func invalid(k *Kind, o client.Object, errs ...*field.Error) error {
	return apierrors.NewInvalid(k.GroupKind, o.GetName(), errs)
}
