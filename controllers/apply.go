// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/controllers/ownership"
)

// Applier turns writes into requests: each a PUT that carries uid and
// resourceVersion, a create, or a delete with both as preconditions. Never a
// patch, which would overwrite, nor an apply, which could create.
type Applier struct {
	Client client.Client
	// Namespace holds the peers' Leases.
	Namespace string
	// LeaseDuration is written into a Lease that is created sealed.
	LeaseDuration time.Duration
	// Now is the wall clock, for times that people read. It decides nothing.
	Now func() time.Time
}

// Outcome is what became of one write.
type Outcome struct {
	Index int
	Write ownership.Write
	// Err is nil if the write is done. Skipped: an earlier write about the
	// same subject failed, so this one was not tried.
	Err     error
	Skipped bool
}

// Apply makes the writes in order. After an error the rest of that subject's
// writes are skipped: they rest on the one that failed.
func (a *Applier) Apply(ctx context.Context, v *View, writes []ownership.Write) []Outcome {
	out := make([]Outcome, 0, len(writes))
	stopped := map[string]bool{}
	for i, w := range writes {
		o := Outcome{Index: i, Write: w}
		switch {
		case ctx.Err() != nil:
			o.Err = ctx.Err()
		case stopped[w.Subject()]:
			o.Skipped = true
		default:
			o.Err = a.write(ctx, v, w)
		}
		stopped[w.Subject()] = stopped[w.Subject()] || o.Err != nil
		out = append(out, o)
	}
	return out
}

func (a *Applier) write(ctx context.Context, v *View, w ownership.Write) error {
	switch w := w.(type) {
	case ownership.CreateRange:
		return a.Client.Create(ctx, newRange(w.Pool, w.CIDR))
	case ownership.UpdateRange:
		return a.updateRange(ctx, v, w)
	case ownership.DeleteRange:
		o, err := read(v.ranges, kindRange, w.Range.Object)
		if err != nil {
			return err
		}
		return a.delete(ctx, o)
	case ownership.UpdatePeer:
		return a.updatePeer(ctx, v, w)
	case ownership.UpdatePeerStatus:
		return a.updatePeerStatus(ctx, v, w)
	case ownership.DeletePeer:
		o, err := read(v.peers, kindPeer, w.Peer.Object)
		if err != nil {
			return err
		}
		return a.delete(ctx, o)
	case ownership.SealLease:
		return a.sealLease(ctx, v, w)
	case ownership.DeleteLease:
		o, err := read(v.leases, kindLease, w.Lease.Object)
		if err != nil {
			return err
		}
		return a.delete(ctx, o)
	case ownership.UpdateDeclaration:
		return a.updateDeclaration(ctx, v, w)
	case ownership.UpdatePool:
		return a.updatePool(ctx, v, w)
	}
	return fmt.Errorf("a write of an unknown kind: %T", w)
}

func (a *Applier) updateRange(ctx context.Context, v *View, w ownership.UpdateRange) error {
	o, err := read(v.ranges, kindRange, w.Before.Object)
	if err != nil {
		return err
	}
	o = o.DeepCopy()
	setRange(o, w.After)
	return a.Client.Update(ctx, o)
}

func (a *Applier) updatePeer(ctx context.Context, v *View, w ownership.UpdatePeer) error {
	o, err := read(v.peers, kindPeer, w.Before.Object)
	if err != nil {
		return err
	}
	o = o.DeepCopy()
	setPeer(o, w.After)
	return a.Client.Update(ctx, o)
}

func (a *Applier) updatePeerStatus(ctx context.Context, v *View, w ownership.UpdatePeerStatus) error {
	o, err := read(v.peers, kindPeer, w.Before.Object)
	if err != nil {
		return err
	}
	o = o.DeepCopy()
	setPeerStatus(o, w.After, metav1.NewTime(a.Now()))
	return a.Client.Status().Update(ctx, o)
}

func (a *Applier) updateDeclaration(ctx context.Context, v *View, w ownership.UpdateDeclaration) error {
	o, err := read(v.removals, kindRemoval, w.Before.Object)
	if err != nil {
		return err
	}
	o = o.DeepCopy()
	setDeclaration(o, w.After)
	return a.Client.Update(ctx, o)
}

// updatePool writes the finalizer or, else, how far accepting it has come: the
// API server takes metadata and status in different requests.
func (a *Applier) updatePool(ctx context.Context, v *View, w ownership.UpdatePool) error {
	o, err := read(v.pools, kindPool, w.Before.Object)
	if err != nil {
		return err
	}
	o = o.DeepCopy()
	if w.Before.Finalizer != w.After.Finalizer {
		setPool(o, w.After)
		return a.Client.Update(ctx, o)
	}
	setPoolStatus(o, w.After)
	return a.Client.Status().Update(ctx, o)
}

// sealLease writes holder "sealed" on exactly the Lease that was read, or
// creates it sealed where there was none.
func (a *Applier) sealLease(ctx context.Context, v *View, w ownership.SealLease) error {
	now := metav1.NewMicroTime(a.Now())
	key := types.NamespacedName{Namespace: a.Namespace, Name: leaseName(w.Before.Name)}
	if w.Before.Version == "" {
		return a.Client.Create(ctx, sealedLease(nil, key, w.Before, w.SealedFor, a.LeaseDuration, now))
	}
	o, err := read(v.leases, kindLease, w.Before.Object)
	if err != nil {
		return err
	}
	return a.Client.Update(ctx, sealedLease(o, key, w.Before, w.SealedFor, a.LeaseDuration, now))
}

// delete removes exactly what was read. Background propagation: nothing of
// ours has dependants, and foreground deletion would linger.
func (a *Applier) delete(ctx context.Context, o client.Object) error {
	uid, version := o.GetUID(), o.GetResourceVersion()
	return a.Client.Delete(ctx, o,
		client.Preconditions{UID: &uid, ResourceVersion: &version},
		client.PropagationPolicy(metav1.DeletePropagationBackground))
}

// object is a pointer to an API object that may be nil.
type object interface {
	comparable
	client.Object
}

// read finds the object that a write was decided on. Anything but exactly that
// one is a bug of the decision: it must not be written.
func read[T object](from map[string]T, kind string, want ownership.Object) (T, error) {
	var none T
	o := from[want.Name]
	if o == none || string(o.GetUID()) != want.UID || o.GetResourceVersion() != want.Version || want.Version == "" {
		return none, fmt.Errorf("%s %s (uid %q, resourceVersion %q) is not what was read", kind, want.Name, want.UID, want.Version)
	}
	return o, nil
}

// Reasons for which a write is refused, in metrics.
const (
	refusedConflict      = "Conflict"
	refusedAlreadyExists = "AlreadyExists"
	refusedUnknown       = "Unknown"
	refusedOther         = "Other"
)

// refusal classifies an error. Another writer's being quicker is normal; an
// unknown outcome may have happened.
func refusal(err error) string {
	switch {
	case apierrors.IsAlreadyExists(err):
		return refusedAlreadyExists
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return refusedConflict
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsUnauthorized(err),
		apierrors.IsTooManyRequests(err), apierrors.IsRequestEntityTooLargeError(err):
		return string(apierrors.ReasonForError(err))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsInternalError(err), apierrors.IsServiceUnavailable(err):
		return refusedUnknown
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return refusedOther
	}
	// No answer from the API server at all.
	return refusedUnknown
}

// raced says that another writer was quicker: look again soon, and say nothing.
func raced(reason string) bool {
	return reason == refusedConflict || reason == refusedAlreadyExists
}
