// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
)

// history is every change of ranges, Peers and Leases, in the order in which
// etcd made them: one watch for each kind, put together by revision.
type history struct {
	t       *testing.T
	mu      sync.Mutex
	changes []change
	done    sync.WaitGroup
	stop    context.CancelFunc
}

type change struct {
	revision int64
	gone     bool
	object   client.Object
}

// record starts to watch. There must be nothing yet of what is watched.
func record(t *testing.T) *history {
	t.Helper()
	c, err := client.NewWithWatch(plane.Config, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h := &history{t: t, stop: cancel}
	for _, list := range []client.ObjectList{&v1alpha1.AddressRangeList{}, &v1alpha1.PeerList{}, &coordinationv1.LeaseList{}} {
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		w, err := c.Watch(ctx, list, client.InNamespace(namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
		if err != nil {
			t.Fatal(err)
		}
		h.done.Go(func() { h.follow(ctx, w) })
	}
	return h
}

func (h *history) follow(ctx context.Context, w watch.Interface) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.ResultChan():
			o, isObject := e.Object.(client.Object)
			if !ok || !isObject || e.Type == watch.Error {
				if ctx.Err() == nil {
					h.t.Errorf("the history has a gap: %+v", e)
				}
				return
			}
			revision, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
			if err != nil {
				h.t.Errorf("a resourceVersion that is not a revision: %v", err)
			}
			h.mu.Lock()
			h.changes = append(h.changes, change{revision, e.Type == watch.Deleted, o})
			h.mu.Unlock()
		}
	}
}

// replay is the cluster as replayed.
type replay struct {
	ranges map[string]*v1alpha1.AddressRange
	peers  map[string]*v1alpha1.Peer
	leases map[string]*coordinationv1.Lease
	// holders are each Lease's last, also of one that is gone by now.
	holders map[string]string
	moves   int
}

// judge replays the history and checks each change of ownership against the
// state at its own moment.
func (h *history) judge() (moves int, violations []string) {
	h.stop()
	h.done.Wait()
	slices.SortStableFunc(h.changes, func(a, b change) int { return cmp.Compare(a.revision, b.revision) })
	r := &replay{ranges: map[string]*v1alpha1.AddressRange{}, peers: map[string]*v1alpha1.Peer{}, leases: map[string]*coordinationv1.Lease{}, holders: map[string]string{}}
	for _, c := range h.changes {
		for _, v := range r.apply(c) {
			violations = append(violations, fmt.Sprintf("revision %d: %s", c.revision, v))
		}
	}
	return r.moves, violations
}

func (r *replay) apply(c change) []string {
	switch o := c.object.(type) {
	case *v1alpha1.Peer:
		set(r.peers, o.Name, o, c.gone)
	case *coordinationv1.Lease:
		if name, ok := strings.CutPrefix(o.Name, v1alpha1.LeasePrefix); ok {
			set(r.leases, name, o, c.gone)
			r.holders[name] = holderOf(o)
		}
	case *v1alpha1.AddressRange:
		was := r.ranges[o.Name]
		set(r.ranges, o.Name, o, c.gone)
		if was != nil && was.UID != o.UID {
			was = nil
		}
		return r.ownership(was, o, c.gone)
	}
	return nil
}

func set[T any](m map[string]*T, name string, o *T, gone bool) {
	if gone {
		delete(m, name)
		return
	}
	m[name] = o
}

// ownership checks what a change of one range means.
func (r *replay) ownership(was, is *v1alpha1.AddressRange, gone bool) (out []string) {
	var before *v1alpha1.PeerReference
	var epoch int64
	if was != nil {
		before, epoch = was.Spec.Owner, was.Spec.Epoch
	}
	after := is.Spec.Owner
	if gone {
		if before != nil {
			out = append(out, fmt.Sprintf("NoLoss: range %s was deleted while %s owned it", is.Name, before.Name))
		}
		return out
	}
	if equal(before, after) {
		if is.Spec.Epoch != epoch && was != nil {
			out = append(out, fmt.Sprintf("Monotone: range %s: epoch %d -> %d with the same owner", is.Name, epoch, is.Spec.Epoch))
		}
		return out
	}
	r.moves++
	if is.Spec.Epoch != epoch+1 {
		out = append(out, fmt.Sprintf("Monotone: range %s: epoch %d -> %d with a new owner", is.Name, epoch, is.Spec.Epoch))
	}
	if after != nil {
		out = append(out, r.disjoint(is)...)
	}
	if before != nil {
		out = append(out, r.fenced(was, is)...)
	}
	return out
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func (r *replay) disjoint(is *v1alpha1.AddressRange) (out []string) {
	cidr := netip.MustParsePrefix(is.Spec.CIDR)
	for _, other := range r.ranges {
		if other.Name != is.Name && other.Spec.Owner != nil && netip.MustParsePrefix(other.Spec.CIDR).Overlaps(cidr) {
			out = append(out, fmt.Sprintf("Disjoint: %s (%s) and %s (%s)", is.Spec.CIDR, is.Spec.Owner.Name, other.Spec.CIDR, other.Spec.Owner.Name))
		}
	}
	return out
}

// fenced checks that the old owner was out when its range moved, and that the
// range went where the removal says.
func (r *replay) fenced(was, is *v1alpha1.AddressRange) (out []string) {
	old := was.Spec.Owner
	peer := r.peers[old.Name]
	if peer != nil && peer.UID == old.UID && !gone(peer) {
		s := was.Status.Sealed
		if is.Spec.Owner != nil || was.Spec.Keep == nil || s == nil || s.Epoch != was.Spec.Epoch || s.Keep != *was.Spec.Keep {
			out = append(out, fmt.Sprintf("Fenced: range %s left %s, which is %q and had not sealed it", is.Name, old.Name, peer.Status.Phase))
		}
		return out
	}
	for name, l := range r.leases {
		if q := r.peers[name]; q == nil || q.UID == old.UID || holderOf(l) == v1alpha1.SealedHolder {
			continue
		}
		if !slices.Contains(strings.Split(l.Annotations[v1alpha1.CutOffAnnotation], ","), string(old.UID)) {
			out = append(out, fmt.Sprintf("Fenced: range %s left %s (%s), which %s had not cut off", is.Name, old.Name, old.UID, name))
		}
	}
	if peer == nil || peer.UID != old.UID {
		return out // an orphan
	}
	heir := peer.Status.Removal.Heir
	if !equal(heir, is.Spec.Owner) {
		out = append(out, fmt.Sprintf("OneHeir: range %s of %s went to %+v, its heir is %+v", is.Name, old.Name, is.Spec.Owner, heir))
	}
	// Chaos deletes Leases too. One that was sealed to the end counts: it can
	// be taken only after the removal was read. One that never was does not.
	if holder := r.holders[old.Name]; holder != v1alpha1.SealedHolder {
		out = append(out, fmt.Sprintf("Fenced: range %s left %s (%s), whose lease is not sealed: held by %q", is.Name, old.Name, old.UID, holder))
	}
	return out
}
