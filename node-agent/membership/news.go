// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"cmp"
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// Reasons of Events that an agent raises; docs/events.md has the table. Those
// on its Node say why nothing starts there, and that it does again.
const (
	reasonFenced      = "NetworkFenced"
	reasonDeclaredOut = "NetworkDeclaredOut"
	reasonContended   = "NetworkContended"
	reasonRegressed   = "NetworkStateRegressed"
	reasonServing     = "NetworkServing"
	// reasonTaken is on a Pod that has lost its network.
	reasonTaken = "NetworkTakenAway"
)

// newsOf is the reason of the Event that a stance is worth; empty: none, as what
// passes, or is said by the controller.
func newsOf(s *stance) string {
	switch {
	case s.left:
		return ""
	case s.row == Fenced:
		return reasonFenced
	case s.row == DeclaredOut:
		return reasonDeclaredOut
	case s.row == Contend:
		return reasonContended
	case s.row == Regressed, s.refuse != nil && strings.HasPrefix(s.refuse.Error(), v1alpha1.ReasonStateRegressed):
		return reasonRegressed
	case s.row == Resume && s.refuse == nil:
		return reasonServing
	}
	return ""
}

// announce says on the Node that a stance is another than the last that was
// worth saying. An agent that serves from the beginning is no news. It does not
// wait for the API.
func (a *Agent) announce(s *stance) {
	reason := newsOf(s)
	if reason == "" || reason == a.announced || a.Recorder == nil {
		return
	}
	first := a.announced == ""
	a.announced = reason
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: a.Name, UID: types.UID(a.nodeUID)}
	switch {
	case reason != reasonServing:
		why := s.waiting
		if s.refuse != nil {
			why = s.refuse.Error()
		}
		a.Recorder.Event(node, corev1.EventTypeWarning, reason, clip(why, 1024))
	case !first:
		a.Recorder.Event(node, corev1.EventTypeNormal, reason, "it is in the network again")
	}
}

// PodNamer is what Sandboxes may be, too: it knows which Pod a sandbox is of.
type PodNamer interface {
	Pod(ctx context.Context, id string) (corev1.ObjectReference, error)
}

// podOf is the Pod of a sandbox that is still there, as far as it is known.
func (a *Agent) podOf(ctx context.Context, id string) corev1.ObjectReference {
	if namer, can := a.Sandboxes.(PodNamer); can && a.Recorder != nil {
		if pod, err := namer.Pod(ctx, id); err == nil {
			return pod
		}
	}
	return corev1.ObjectReference{}
}

// tellPod says on a Pod that it has lost its network. name, as its interface
// has it, is for where the runtime did not say which it is.
func (a *Agent) tellPod(pod corev1.ObjectReference, name, message string) {
	namespace, short, named := strings.Cut(name, "/")
	if a.Recorder == nil || pod.Name == "" && !named {
		return
	}
	pod.APIVersion, pod.Kind = "v1", "Pod"
	pod.Namespace, pod.Name = cmp.Or(pod.Namespace, namespace), cmp.Or(pod.Name, short)
	a.Recorder.Event(&pod, corev1.EventTypeWarning, reasonTaken, clip(message, 1024))
}

// createOnly writes Events, once each: an agent may create them, and change
// none.
type createOnly struct{ create func(*corev1.Event) error }

func (c createOnly) Create(e *corev1.Event) (*corev1.Event, error)          { return e, c.create(e) }
func (c createOnly) Update(e *corev1.Event) (*corev1.Event, error)          { return e, nil }
func (c createOnly) Patch(e *corev1.Event, _ []byte) (*corev1.Event, error) { return e, nil }

// EventSink is where an agent's recorder writes to.
func EventSink(create func(*corev1.Event) error) record.EventSink { return createOnly{create} }
