// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// sent notes requests and answers them with what the test chose: what the API
// server makes of them is tested on a real one (test/e2e/controller).
type sent struct {
	requests []string
	answer   func(request string) error
}

func (s *sent) note(verb string, o client.Object, more string) error {
	request := fmt.Sprintf("%s %T %s uid=%s version=%s%s", verb, o, o.GetName(), o.GetUID(), o.GetResourceVersion(), more)
	request = strings.ReplaceAll(strings.ReplaceAll(request, "*v1alpha1.", ""), "*v1.", "")
	s.requests = append(s.requests, request)
	if s.answer != nil {
		return s.answer(request)
	}
	return nil
}

func applierTo(s *sent) *Applier {
	c := fake.NewClientBuilder().WithScheme(Scheme()).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			return s.note("create", o, "")
		},
		Update: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.UpdateOption) error {
			return s.note("update", o, "")
		},
		SubResourceUpdate: func(_ context.Context, _ client.Client, sub string, o client.Object, _ ...client.SubResourceUpdateOption) error {
			return s.note("update "+sub, o, "")
		},
		Delete: func(_ context.Context, _ client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			d := (&client.DeleteOptions{}).ApplyOptions(opts)
			return s.note("delete", o, fmt.Sprintf(" if uid=%s version=%s", *d.Preconditions.UID, *d.Preconditions.ResourceVersion))
		},
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return errors.New("ownership is never patched")
		},
	}).Build()
	return &Applier{Client: c, Namespace: "selvage-system", LeaseDuration: time.Minute, Now: func() time.Time { return time.Unix(100, 0) }}
}

// threeObjects are a Peer, a range and a Lease, with a uid and a version each.
func threeObjects() *View {
	p, l, r := servingPeer("host3")
	p.ResourceVersion, l.UID, l.ResourceVersion, r.UID, r.ResourceVersion = "7", "l-1", "8", "r-1", "9"
	pool := poolOf("default", "10.32.0.0/12")
	pool.UID, pool.ResourceVersion = "p-1", "10"
	return viewOf(p, l, r, pool)
}

func TestWritesCarryWhatWasRead(t *testing.T) {
	v := threeObjects()
	peer, lease, rng, pool := v.Peers[0], v.Leases[0], v.Ranges[0], v.Pools[0]
	fencing, finalized, accepted := peer, pool, pool
	fencing.Phase, finalized.Finalizer, accepted.Accepted = ownership.Fencing, true, true
	s := &sent{}
	for _, o := range applierTo(s).Apply(t.Context(), v, []ownership.Write{
		ownership.CreateRange{Pool: "default", CIDR: netip.MustParsePrefix("10.36.0.0/14")},
		ownership.UpdateRange{Before: rng, After: rng},
		ownership.DeleteRange{Range: rng},
		ownership.UpdatePeer{Before: peer, After: peer},
		ownership.UpdatePeerStatus{Before: peer, After: fencing},
		ownership.DeletePeer{Peer: peer},
		ownership.SealLease{Before: lease, SealedFor: []string{"x"}},
		ownership.SealLease{Before: ownership.Lease{Object: ownership.Object{Name: "host9"}}},
		ownership.DeleteLease{Lease: lease},
		ownership.UpdatePool{Before: pool, After: finalized},
		ownership.UpdatePool{Before: pool, After: accepted},
	}) {
		if o.Err != nil || o.Skipped {
			t.Errorf("%s: %v", o.Write, o.Err)
		}
	}
	want := []string{
		"create AddressRange 10.36.0.0 uid= version=",
		"update AddressRange 10.32.0.0 uid=r-1 version=9",
		"delete AddressRange 10.32.0.0 uid=r-1 version=9 if uid=r-1 version=9",
		"update Peer host3 uid=u-1 version=7",
		"update status Peer host3 uid=u-1 version=7",
		"delete Peer host3 uid=u-1 version=7 if uid=u-1 version=7",
		"update Lease peer-host3 uid=l-1 version=8",
		"create Lease peer-host9 uid= version=",
		"delete Lease peer-host3 uid=l-1 version=8 if uid=l-1 version=8",
		"update AddressPool default uid=p-1 version=10",
		"update status AddressPool default uid=p-1 version=10",
	}
	if got := strings.Join(s.requests, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("sent:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	if v.peers["host3"].Status.Phase != "" || *v.leases["host3"].Spec.HolderIdentity != "u-1/run" {
		t.Error("the objects that were read have been changed: they may be the cache's")
	}
}

func TestASubjectStopsAtItsFirstError(t *testing.T) {
	v := threeObjects()
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "peers"}, "host3", errors.New("changed"))
	s := &sent{answer: func(request string) error {
		if strings.HasPrefix(request, "update Peer") {
			return conflict
		}
		return nil
	}}
	outcomes := applierTo(s).Apply(t.Context(), v, []ownership.Write{
		ownership.UpdatePeer{Before: v.Peers[0], After: v.Peers[0]},
		ownership.UpdateRange{Before: v.Ranges[0], After: v.Ranges[0]},
		ownership.UpdatePeerStatus{Before: v.Peers[0], After: v.Peers[0]},
	})
	if outcomes[0].Err == nil || outcomes[1].Err != nil || !outcomes[2].Skipped || len(s.requests) != 2 {
		t.Fatalf("outcomes %+v, sent %v", outcomes, s.requests)
	}
}

// A write about anything but exactly what was read is never sent.
func TestWhatWasNotReadIsNotWritten(t *testing.T) {
	v := threeObjects()
	s := &sent{}
	for _, change := range []func(*ownership.Peer){
		func(p *ownership.Peer) { p.UID = "u-2" },
		func(p *ownership.Peer) { p.Version = "6" },
		func(p *ownership.Peer) { p.Version = "" },
		func(p *ownership.Peer) { p.Name = "host4" },
	} {
		p := v.Peers[0]
		change(&p)
		o := applierTo(s).Apply(t.Context(), v, []ownership.Write{ownership.DeletePeer{Peer: p}})
		if o[0].Err == nil || len(s.requests) > 0 {
			t.Errorf("%+v: %v, sent %v", p.Object, o[0].Err, s.requests)
		}
	}
}

func TestRefusals(t *testing.T) {
	peers := schema.GroupResource{Group: "net.selvage.dev", Resource: "peers"}
	for _, c := range []struct {
		err  error
		want string
	}{
		{apierrors.NewConflict(peers, "host3", nil), refusedConflict},
		{apierrors.NewNotFound(peers, "host3"), refusedConflict},
		{apierrors.NewAlreadyExists(peers, "host3"), refusedAlreadyExists},
		{apierrors.NewInvalid(schema.GroupKind{Kind: "Peer"}, "host3", nil), "Invalid"},
		{apierrors.NewForbidden(peers, "host3", nil), "Forbidden"},
		{apierrors.NewTooManyRequests("slow down", 1), "TooManyRequests"},
		{apierrors.NewTimeoutError("late", 1), refusedUnknown},
		{apierrors.NewServerTimeout(peers, "update", 1), refusedUnknown},
		{apierrors.NewInternalError(errors.New("x")), refusedUnknown},
		{fmt.Errorf("put: %w", context.DeadlineExceeded), refusedUnknown},
		{errors.New("connection reset by peer"), refusedUnknown},
		{apierrors.NewMethodNotSupported(peers, "update"), refusedOther},
	} {
		if got := refusal(c.err); got != c.want {
			t.Errorf("%v is %s, want %s", c.err, got, c.want)
		}
	}
}

func TestEvents(t *testing.T) {
	r := record.NewFakeRecorder(16)
	a := &Announcer{Recorder: r}
	done := ownership.Event{After: 0, Kind: "Peer", Name: "host1", Reason: "TakenOver", Message: TakenOver(524288, "host3")}
	failed := ownership.Event{After: 1, Kind: "Peer", Name: "host2", Reason: "TakenOver", Message: "never"}
	standing := ownership.Event{After: -1, Kind: "AddressPool", Name: "default", Warning: true, Reason: "RemovalsHeld", Message: strings.Repeat("long ", 400)}
	outcomes := []Outcome{{Index: 0}, {Index: 1, Err: errors.New("refused")}}
	a.Announce([]ownership.Event{done, failed, standing}, outcomes, time.Second)
	a.Announce([]ownership.Event{standing}, nil, 2*time.Second)
	a.Announce([]ownership.Event{standing}, nil, time.Second+repeatAfter)
	close(r.Events)
	var got []string
	for e := range r.Events {
		got = append(got, e)
	}
	if len(got) != 3 || got[0] != "Normal TakenOver 524288 IPs taken over from host3" || !strings.HasPrefix(got[1], "Warning RemovalsHeld long") || len(got[1]) > maxEventMessage+32 {
		t.Fatalf("%d events: %q", len(got), got)
	}
}

// TestEvents_Node: what becomes of a peer is said on its Node, too, as long as
// that is there, and only when it has been done.
func TestEvents_Node(t *testing.T) {
	v := viewOf()
	v.Nodes = []ownership.Node{{Name: "host3", UID: "node-3"}, {Name: "host1", UID: "node-1"}}
	all := withNodes(v, []ownership.Event{
		{After: 0, Kind: kindPeer, Name: "host3", UID: "peer-3", Reason: ownership.EventRemoved, Message: "gone"},
		{After: 0, Kind: kindPeer, Name: "host1", UID: "peer-1", Reason: ownership.EventTakenOver, Message: "more"},
		{After: 0, Kind: kindRemoval, Name: "host3", UID: "r", Reason: ownership.EventRemoved, Message: "done"},
		{After: 1, Kind: kindPeer, Name: "host9", UID: "peer-9", Reason: ownership.EventRemovalBegun, Message: "its Node is gone"},
	})
	want := ownership.Event{After: 0, Kind: kindNode, Name: "host3", UID: "node-3", Reason: "PeerRemoved", Message: "gone"}
	if len(all) != 5 || all[4] != want {
		t.Fatalf("%+v", all)
	}
	said := &aboutWhat{}
	(&Announcer{Recorder: said}).Announce(all, []Outcome{{Index: 0}, {Index: 1, Skipped: true}}, time.Second)
	if got := strings.Join(said.all, "; "); got != "net.selvage.dev/v1alpha1 Peer host3 peer-3 Removed; net.selvage.dev/v1alpha1 Peer host1 peer-1 TakenOver; "+
		"net.selvage.dev/v1alpha1 PeerRemoval host3 r Removed; v1 Node host3 node-3 PeerRemoved" {
		t.Error(got)
	}
}

// aboutWhat notes which objects Events are about.
type aboutWhat struct {
	record.EventRecorder
	all []string
}

func (a *aboutWhat) Event(o runtime.Object, _, reason, _ string) {
	ref, _ := o.(*corev1.ObjectReference)
	a.all = append(a.all, strings.Join([]string{ref.APIVersion, ref.Kind, ref.Name, string(ref.UID), reason}, " "))
}
