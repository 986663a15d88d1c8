// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"reflect"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// Simulated is the API of a simulated server. It copies: the server takes
// ownership of what it is given, and returns objects that it shares.
func Simulated(s *apiserver.Server) API {
	api := &simulated{s: s}
	s.Changed = api.tell
	return api
}

type simulated struct {
	s       *apiserver.Server
	watches []*simulatedWatch
}

func become(to, from client.Object) {
	reflect.ValueOf(to).Elem().Set(reflect.ValueOf(copied(from)).Elem())
}

func (a *simulated) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	got, err := a.s.Get(apiserver.KindOf(o), key.Namespace, key.Name)
	if err != nil {
		return err
	}
	become(o, got)
	return nil
}

func (a *simulated) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	var items []runtime.Object
	for _, object := range apiserver.Selected(a.s.List(kindOf(list), o.Namespace), o.FieldSelector) {
		items = append(items, copied(object))
	}
	list.SetResourceVersion(strconv.FormatInt(a.s.Version(), 10))
	return meta.SetList(list, items)
}

// kindOf is the kind of a list's objects.
func kindOf(list client.ObjectList) *apiserver.Kind {
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	return apiserver.KindOf(reflect.New(items.Type().Elem()).Interface().(client.Object))
}

func (a *simulated) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	return take(o)(a.s.Create(copied(o)))
}

func (a *simulated) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return take(o)(a.s.Update(copied(o), false))
}

func take(o client.Object) func(client.Object, error) error {
	return func(got client.Object, err error) error {
		if err == nil {
			become(o, got)
		}
		return err
	}
}

func (a *simulated) Delete(_ context.Context, o client.Object, opts ...client.DeleteOption) error {
	d := (&client.DeleteOptions{}).ApplyOptions(opts)
	return a.s.Delete(apiserver.KindOf(o), o.GetNamespace(), o.GetName(), d.Preconditions)
}

func (a *simulated) Status() client.SubResourceWriter { return &simulatedStatus{a: a} }

// What it embeds is nil: no case calls the rest.
type simulatedStatus struct {
	client.SubResourceWriter
	a *simulated
}

func (s *simulatedStatus) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	return take(o)(s.a.s.Update(copied(o), true))
}

// Patch takes patches that carry the version they were made for.
func (s *simulatedStatus) Patch(ctx context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.Update(ctx, o)
}

func (a *simulated) Watch(_ context.Context, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	since, err := strconv.ParseInt(o.Raw.ResourceVersion, 10, 64)
	if err != nil {
		return nil, err
	}
	w := &simulatedWatch{kind: kindOf(list), selector: o.FieldSelector, events: make(chan watch.Event, 1000)}
	for _, change := range a.s.History(0) {
		if change.Version > since {
			w.tell(change)
		}
	}
	a.watches = append(a.watches, w)
	return w, nil
}

func (a *simulated) tell(*apiserver.Kind, client.Object, client.Object) {
	for _, w := range a.watches {
		w.tell(a.s.History(a.s.Seen() - 1)[0])
	}
}

type simulatedWatch struct {
	kind     *apiserver.Kind
	selector fields.Selector
	events   chan watch.Event
}

func (w *simulatedWatch) tell(c apiserver.Change) {
	kind, o := watch.Modified, c.After
	switch {
	case c.After == nil:
		kind, o = watch.Deleted, copied(c.Before)
		o.SetResourceVersion(strconv.FormatInt(c.Version, 10))
	case c.Before == nil:
		kind = watch.Added
	}
	if c.Kind == w.kind && len(apiserver.Selected([]client.Object{o}, w.selector)) == 1 {
		w.events <- watch.Event{Type: kind, Object: copied(o)}
	}
}

func (w *simulatedWatch) ResultChan() <-chan watch.Event { return w.events }

func (w *simulatedWatch) Stop() {}
