// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// write is one change of an object, or of its status.
type write struct {
	change func(client.Object)
	status bool
}

// rule is the story of one object of the kind: its creation with a change and
// the writes after it, of which the last one is refused with that text, or, if
// there is none, passes.
type rule struct {
	kind, what string
	draft      func(client.Object)
	writes     []write
	refused    string
}

// RunRules runs the cases about the rules in the CustomResourceDefinitions; the
// rest of them is tested on a real API server alone.
func RunRules(t *testing.T, open func(*testing.T) API) {
	made := 1 << 14 // past the names of Run's
	for _, r := range append(append(append([]rule{}, rangeRules...), peerRules...), declarationRules...) {
		t.Run(r.kind+"/"+r.what, func(t *testing.T) {
			for _, k := range kinds {
				if k.name == r.kind {
					r.run(&scene{TB: t, kind: k, api: open(t), made: &made})
				}
			}
		})
	}
}

func (r rule) run(s *scene) {
	s.Helper()
	o := s.draft()
	if r.draft != nil {
		r.draft(o)
	}
	err := s.api.Create(s.Context(), o)
	for i, w := range r.writes {
		if err != nil {
			s.Fatalf("write %d of what is given: %v", i, err)
		}
		w.change(o)
		if w.status {
			err = s.api.Status().Update(s.Context(), o)
		} else {
			err = s.api.Update(s.Context(), o)
		}
	}
	if r.refused == "" {
		s.ok(err)
		s.same(s.get(o), o)
		return
	}
	s.refused(err, metav1.StatusReasonInvalid)
	s.that(strings.Contains(err.Error(), r.refused), "refused with %v\nwant %s", err, r.refused)
}

func spec[T client.Object](change func(T)) write {
	return write{change: func(o client.Object) { change(o.(T)) }}
}

func status[T client.Object](change func(T)) write {
	w := spec(change)
	w.status = true
	return w
}

func born[T client.Object](change func(T)) func(client.Object) {
	return func(o client.Object) { change(o.(T)) }
}
