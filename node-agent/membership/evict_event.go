// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// stopReport is what became of some sandboxes, for people.
type stopReport struct {
	mu              sync.Mutex
	stopped, failed []string
	why             error
}

func (r *stopReport) note(pod string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.stopped = append(r.stopped, pod)
		return
	}
	r.failed, r.why = append(r.failed, pod), err
}

// Reasons of Events on the Node.
const (
	reasonStopped    = "StalePodsStopped"
	reasonNotStopped = "StalePodsNotStopped"
)

// tellStopped says on the Node, once for all that happened together, whose
// network was taken away and who was stopped for it. It is news, no record: a
// failure is only logged.
func (a *Agent) tellStopped(ctx context.Context, r *stopReport) {
	if len(r.stopped) > 0 {
		a.nodeEvent(ctx, corev1.EventTypeNormal, reasonStopped,
			"stopped, since their addresses are not this node's any more, so that the kubelet makes them anew: "+brief(r.stopped))
	}
	if len(r.failed) > 0 {
		a.nodeEvent(ctx, corev1.EventTypeWarning, reasonNotStopped, fmt.Sprintf(
			"not stopped (%v), and without a network, since their addresses are not this node's any more: %s. Delete them, or see that the container runtime answers",
			r.why, brief(r.failed)))
	}
}

func (a *Agent) nodeEvent(ctx context.Context, kind, reason, message string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now := metav1.NewTime(time.Now())
	uid, _ := a.nodeID.Load().(string)
	err := a.Client.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, GenerateName: a.Name + "."},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: a.Name, UID: types.UID(uid)},
		Reason:         reason, Message: clip(message, 1024), Type: kind,
		Source: corev1.EventSource{Component: "selvage-agent", Host: a.Name}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	})
	if err != nil {
		a.Log.Info("an Event could not be written", "message", message, "error", err)
	}
}
