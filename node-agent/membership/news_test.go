// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// notes takes Events down, with what they are about.
type notes struct {
	record.EventRecorder
	mu  sync.Mutex
	all []string
}

func (n *notes) Event(o runtime.Object, kind, reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ref, _ := o.(*corev1.ObjectReference)
	n.all = append(n.all, strings.Join([]string{kind, reason, ref.Kind, ref.Namespace + "/" + ref.Name, string(ref.UID), message}, " "))
}

func (n *notes) take() (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out, n.all = n.all, nil
	slices.Sort(out)
	return out
}

// TestNews: what keeps pods from starting on a node is said there once, and so
// is its end; an agent that starts as it should is no news.
func TestNews(t *testing.T) {
	n := &notes{}
	a := &Agent{Config: Config{Name: "host1", Recorder: n, Log: slog.New(slog.DiscardHandler)}, nodeUID: "node-uid"}
	a.stance.Store(&stance{})
	out := errors.New("this node is declared out")
	for i, c := range []struct {
		next stance
		want string
	}{
		{stance{row: Unreachable, refuse: errUnseen, waiting: "the API server"}, ""},
		{stance{row: Resume}, ""},
		{stance{row: Resume}, ""},
		{stance{row: DeclaredOut, refuse: out, waiting: "x"}, "Warning NetworkDeclaredOut Node /host1 node-uid this node is declared out"},
		{stance{row: DeclaredOut, refuse: out, waiting: "y"}, ""},
		{stance{row: Scratch, waiting: "joining"}, ""},
		{stance{row: Resume, waiting: "a range"}, "Normal NetworkServing Node /host1 node-uid it is in the network again"},
		{stance{row: Resume, refuse: errors.New("StateRegressed: range 10.0.0.0 is missing")},
			"Warning NetworkStateRegressed Node /host1 node-uid StateRegressed: range 10.0.0.0 is missing"},
		{stance{row: Regressed, refuse: errors.New("StateRegressed: no Peer")}, ""},
		{stance{row: Fenced, refuse: errors.New("removed")}, "Warning NetworkFenced Node /host1 node-uid removed"},
		{stance{row: Contend, refuse: errors.New("another")}, "Warning NetworkContended Node /host1 node-uid another"},
		{stance{row: Contend, refuse: errLeft, left: true}, ""},
	} {
		a.publish(c.next)
		if got := strings.Join(n.take(), "; "); got != c.want {
			t.Errorf("%d, %+v: %q, want %q", i, c.next, got, c.want)
		}
	}
}

// named knows the Pods of sandboxes.
type named struct{ *evictTest }

func (n named) Pod(_ context.Context, id string) (corev1.ObjectReference, error) {
	if id == "unknown" {
		return corev1.ObjectReference{}, errors.New("who?")
	}
	return corev1.ObjectReference{Namespace: "default", Name: "web-" + id, UID: "uid-1"}, nil
}

// TestNews_Pods: a pod that has lost its network has an Event of its own, with
// its uid, so that kubectl describe shows it; and without, if nobody knows it.
func TestNews_Pods(t *testing.T) {
	n := &notes{}
	evicting(t, func(e *evictTest, _ context.Context, id string) error {
		if id == "stuck" {
			return errors.New("no socket")
		}
		e.end(id)
		return nil
	}, func(e *evictTest) {
		e.agent.Recorder = n
		e.agent.Sandboxes = named{e}
		e.agent.evictions.add("a", "default/web-a")
		e.agent.evictions.add("unknown", "kube-system/dns")
		e.agent.evictions.add("stuck", "default/web-stuck")
		pass(time.Minute)
		want := []string{
			"Warning NetworkTakenAway Pod default/web-a uid-1 its address is not this node's any more: its sandbox was stopped, and the kubelet makes it anew",
			"Warning NetworkTakenAway Pod default/web-stuck uid-1 its address is not this node's any more, so it has no network; the container runtime did not stop it: no socket",
			"Warning NetworkTakenAway Pod kube-system/dns  its address is not this node's any more: its sandbox was stopped, and the kubelet makes it anew",
		}
		if got := n.take(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	}, "a", "unknown", "stuck")
}

// TestNews_OnlyCreated: an Event that is raised again is not changed, which an
// agent has no right to.
func TestNews_OnlyCreated(t *testing.T) {
	created := make(chan *corev1.Event, 8)
	b := record.NewBroadcaster()
	defer b.Shutdown()
	b.StartRecordingToSink(EventSink(func(e *corev1.Event) error { created <- e; return nil }))
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	r := b.NewRecorder(scheme, corev1.EventSource{Component: "selvage-agent"})
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "host1"}
	for _, message := range []string{"one", "one", "one", "two"} {
		r.Event(node, corev1.EventTypeWarning, reasonFenced, message)
	}
	first, second := <-created, <-created
	if first.Message != "one" || second.Message != "two" || first.Namespace != "default" || len(created) > 0 {
		t.Errorf("%s in %s, %s, and %d more", first.Message, first.Namespace, second.Message, len(created))
	}
}
