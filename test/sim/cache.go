// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// cache is what a process's watches have brought so far.
type cache struct {
	p *process
	// wants selects what is watched.
	wants map[*apiserver.Kind]func(client.Object) bool
	// changed is told of each change; before or after may be nil.
	changed func(before, after client.Object)

	tables map[*apiserver.Kind]map[string]client.Object
	sorted map[*apiserver.Kind][]client.Object
	// listed is what was answered since a kind has changed.
	listed map[*apiserver.Kind]map[query]client.ObjectList
	// complete: everything was listed once.
	complete bool
	// broken: the watches have ended, and everything is to be listed anew.
	broken bool
	// last is when the last change on its way arrives: they keep their order.
	last time.Duration
	// stalled: nothing arrives until then. jumbled: what arrives may be lost,
	// or come twice, or out of order.
	stalled time.Duration
	jumbled bool
	// lists counts how often everything was listed: what was on its way before
	// does not arrive any more.
	lists int
}

func (p *process) watch(wants map[*apiserver.Kind]func(client.Object) bool, changed func(before, after client.Object)) *cache {
	c := &cache{p: p, wants: wants, changed: changed, broken: true}
	c.tables, c.sorted = map[*apiserver.Kind]map[string]client.Object{}, map[*apiserver.Kind][]client.Object{}
	c.listed = map[*apiserver.Kind]map[query]client.ObjectList{}
	for k := range wants {
		c.tables[k] = map[string]client.Object{}
	}
	p.cache = c
	c.mend(0)
	return c
}

func all(client.Object) bool { return true }

func named(name string) func(client.Object) bool {
	return func(o client.Object) bool { return o.GetName() == name }
}

// deliver sends a change on its way to the cache.
func (c *cache) deliver(change apiserver.Change) {
	wanted := c.wants[change.Kind]
	o := change.After
	if o == nil {
		o = change.Before
	}
	if wanted == nil || c.broken || !wanted(o) {
		return
	}
	w, l := c.p.w, c.p.link
	at := max(w.Now+l.latency(), c.stalled)
	times := 1
	if c.jumbled {
		switch l.random.IntN(8) {
		case 0:
			return // lost
		case 1:
			times = 2
		case 2:
			at += time.Duration(l.random.Int64N(int64(20 * time.Second)))
		}
	} else {
		at = max(at, c.last)
		c.last = at
	}
	lists := c.lists
	for range times {
		w.after(at-w.Now, c.p, func() {
			switch {
			case c.broken || c.lists != lists:
			case l.noReplies || w.down:
				c.fail()
			default:
				c.take(change.Kind, o, change.After)
			}
		})
		at += time.Second
	}
}

// take puts what has arrived into the cache; after is nil for what is gone.
func (c *cache) take(k *apiserver.Kind, o, after client.Object) {
	key := o.GetNamespace() + "/" + o.GetName()
	before := c.tables[k][key]
	switch {
	case after == nil && before == nil:
		return
	case after == nil:
		delete(c.tables[k], key)
	default:
		c.tables[k][key] = after
	}
	delete(c.sorted, k)
	clear(c.listed[k])
	if before == nil && after == nil {
		return
	}
	c.changed(before, after)
}

// fail ends the watches, and has everything listed anew some time later.
func (c *cache) fail() {
	if !c.broken {
		c.broken = true
		c.mend(time.Second)
	}
}

func (c *cache) mend(d time.Duration) {
	w, l := c.p.w, c.p.link
	w.after(d+l.latency(), c.p, func() {
		if l.noRequests || l.noReplies || w.down || l.lost() {
			c.mend(2 * time.Second)
			return
		}
		c.relist(l.random.IntN(3) * l.random.IntN(10))
	})
}

// relist takes everything as it was some changes ago, and follows what has
// changed since: another API server may lag behind the one that was watched.
func (c *cache) relist(ago int) {
	s := c.p.w.Server
	if c.p.w.restored {
		ago = 0
	}
	from := max(0, s.Seen()-ago)
	was := map[*apiserver.Kind]map[string]client.Object{}
	for k, wanted := range c.wants {
		was[k] = map[string]client.Object{}
		for _, o := range s.List(k, "") {
			if wanted(o) {
				was[k][o.GetNamespace()+"/"+o.GetName()] = o
			}
		}
	}
	since := s.History(from)
	for i := len(since) - 1; i >= 0; i-- {
		undo(was, since[i], c.wants[since[i].Kind])
	}
	c.broken, c.stalled, c.last = false, 0, 0
	c.lists++
	for _, k := range apiserver.Kinds {
		if c.wants[k] != nil {
			c.become(k, was[k])
		}
	}
	c.complete = true
	for _, change := range since {
		c.deliver(change)
	}
	c.changed(nil, nil)
}

func undo(tables map[*apiserver.Kind]map[string]client.Object, change apiserver.Change, wanted func(client.Object) bool) {
	o := change.Before
	if o == nil {
		o = change.After
	}
	if wanted == nil || !wanted(o) {
		return
	}
	key := o.GetNamespace() + "/" + o.GetName()
	if change.Before == nil {
		delete(tables[change.Kind], key)
		return
	}
	tables[change.Kind][key] = change.Before
}

// become makes a table what was listed.
func (c *cache) become(k *apiserver.Kind, now map[string]client.Object) {
	keys := slices.Collect(maps.Keys(now))
	for key := range c.tables[k] {
		if now[key] == nil {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		before, after := c.tables[k][key], now[key]
		if before == after {
			continue
		}
		o := after
		if o == nil {
			o = before
		}
		c.take(k, o, after)
	}
}

// objects are all that it holds of a kind, by name.
func (c *cache) objects(k *apiserver.Kind) []client.Object {
	if list, ok := c.sorted[k]; ok {
		return list
	}
	table := c.tables[k]
	list := make([]client.Object, 0, len(table))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		list = append(list, table[key])
	}
	c.sorted[k] = list
	return list
}

// cachedReader lists from a cache, sharing what is in it.
type cachedReader struct {
	client.Reader
	c *cache
}

// query is what is asked for of a kind.
type query struct{ namespace, fields string }

// List is client.Reader.List.
func (r cachedReader) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	k, q := kindOfList(list), query{namespace: o.Namespace}
	if o.FieldSelector != nil {
		q.fields = o.FieldSelector.String()
	}
	if known := r.c.listed[k][q]; known != nil {
		reflect.ValueOf(list).Elem().Set(reflect.ValueOf(known).Elem())
		return nil
	}
	objects := r.c.objects(k)
	if o.Namespace != "" {
		objects = slices.DeleteFunc(slices.Clone(objects), func(object client.Object) bool {
			return object.GetNamespace() != o.Namespace
		})
	}
	fill(list, apiserver.Selected(objects, o.FieldSelector), false)
	if r.c.listed[k] == nil {
		r.c.listed[k] = map[query]client.ObjectList{}
	}
	known := reflect.New(reflect.TypeOf(list).Elem())
	known.Elem().Set(reflect.ValueOf(list).Elem())
	r.c.listed[k][q] = known.Interface().(client.ObjectList)
	return nil
}
