// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package removal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

// CancelledError says that the removal that was followed is no more.
type CancelledError struct{ Peer string }

func (e *CancelledError) Error() string {
	return fmt.Sprintf("the removal of %s was cancelled: its PeerRemoval is gone", e.Peer)
}

// Follow waits until the removal is over, telling each step, and returns it.
// What ends it otherwise: it was cancelled, or ctx is done.
func (o *Operator) Follow(ctx context.Context, result *Result) (*inventory.Removal, error) {
	declared := result.Removal
	var last *inventory.Removal
	err := o.until(ctx, func(ctx context.Context) (bool, error) {
		r, err := o.look(ctx, declared)
		if err != nil {
			return false, err
		}
		watched := last != nil || result.Fresh()
		if r.Over() && watched && r.Evidence != v1alpha1.EvidenceNeverJoined && r.Fence.Known {
			// A removal that is quicker than the poll still says why it was safe.
			o.Say(Step{Text: fmt.Sprintf("fencing %s … %s", r.Peer, display.Cutting(r)), Fleeting: true})
		}
		last = r
		if r.Over() {
			return true, nil
		}
		line := display.Progress(r)
		o.Say(Step{Text: line, Fleeting: true, Key: withoutNumbers(r, line)})
		return false, nil
	})
	var cancelled *CancelledError
	if err != nil && last != nil && !errors.As(err, &cancelled) && ctx.Err() != nil {
		return last, &WaitError{Waiting: display.Progress(last) + "\nit goes on without you; follow it with: kubectl selvage status", Cause: err}
	}
	return last, err
}

// look reads the removal as it stands now. Leases are read if permitted.
func (o *Operator) look(ctx context.Context, declared *v1alpha1.PeerRemoval) (*inventory.Removal, error) {
	var now v1alpha1.PeerRemoval
	err := o.Client.Get(ctx, client.ObjectKeyFromObject(declared), &now)
	if apierrors.IsNotFound(err) || err == nil && now.UID != declared.UID {
		return nil, o.verdict(ctx, declared)
	}
	if err != nil {
		return nil, err
	}
	s := survey.Read(ctx, o.Client, o.Namespace, inventory.Peers, inventory.Leases)
	if err := s.Require(inventory.Peers); err != nil {
		return nil, err
	}
	s.Removals = []v1alpha1.PeerRemoval{now}
	return s.Removal(declared.Name), nil
}

// verdict is what became of a removal whose PeerRemoval is gone: cancelled, or
// done and then deleted by somebody.
func (o *Operator) verdict(ctx context.Context, declared *v1alpha1.PeerRemoval) error {
	s, err := o.read(ctx)
	if err != nil {
		return err
	}
	p := s.Peer(declared.Name)
	if p != nil && !inventory.Gone(inventory.Phase(p)) && sameInstance(declared, p) {
		return &CancelledError{Peer: declared.Name}
	}
	return fmt.Errorf("the PeerRemoval of %s was deleted by somebody while it was waited for; see: kubectl selvage peers", declared.Name)
}

func sameInstance(d *v1alpha1.PeerRemoval, p *v1alpha1.Peer) bool {
	return d.Spec.InstanceID == "" || d.Spec.InstanceID == p.Spec.InstanceID
}

// withoutNumbers is a line without what merely counts: the seconds left of a
// lease are no news, the number of peers that have cut it off is.
func withoutNumbers(r *inventory.Removal, line string) string {
	if r.Phase == v1alpha1.RemovalTransferring {
		return line
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsDigit(c) {
			return -1
		}
		return c
	}, line)
}

// Cancel takes back a removal while that is possible, and returns what became
// of it: the peer is current again, or it was too late.
func (o *Operator) Cancel(ctx context.Context, name string) (*inventory.Removal, error) {
	for range attempts {
		s, err := o.read(ctx)
		if err != nil {
			return nil, err
		}
		stands, r := s.Declared(name), s.Removal(name)
		switch {
		case r == nil:
			return nil, fmt.Errorf("there is no removal of %s to cancel", name)
		case stands == nil:
			return nil, fmt.Errorf("%s: this removal was not declared by anybody (reason %s) and cannot be cancelled by hand", display.Already(r, o.Now()), r.Reason)
		case inventory.FormerInstance(stands, s.Peer(name)):
			return nil, fmt.Errorf("the removal of %s is of a former instance, and touches nothing of today's; to be rid of it: kubectl delete peerremoval %s", name, name)
		case r.Fixed():
			return r, o.tooLate(r)
		}
		err = o.Client.Delete(ctx, stands, preconditions(stands))
		switch {
		case apierrors.IsConflict(err):
			continue // it moved on: decide again
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, err
		}
		return o.cancelled(ctx, stands, r)
	}
	return nil, fmt.Errorf("the removal of %s kept changing: try again", name)
}

// cancelled waits for the verdict: the deletion may have come a moment too late.
func (o *Operator) cancelled(ctx context.Context, stands *v1alpha1.PeerRemoval, r *inventory.Removal) (*inventory.Removal, error) {
	var latest *inventory.Removal
	err := o.until(ctx, func(ctx context.Context) (bool, error) {
		s, err := o.read(ctx)
		if err != nil {
			return false, err
		}
		if now := s.Removal(stands.Name); now != nil {
			latest = now
		}
		d, p := s.Declared(stands.Name), s.Peer(stands.Name)
		if d != nil && d.UID == stands.UID {
			o.Say(Step{Text: fmt.Sprintf("cancelling the removal of %s … waiting for the controller's verdict", r.Peer), Fleeting: true})
			return false, nil
		}
		if p == nil && r.UID != "" || p != nil && stillGone(p, r.UID) {
			return true, o.tooLate(latest)
		}
		latest = nil
		return true, nil
	})
	var late *AlreadyError
	if err != nil && !errors.As(err, &late) && ctx.Err() != nil {
		return r, &WaitError{Waiting: fmt.Sprintf("the removal of %s is deleted, and waits for the controller's verdict", r.Peer), Cause: err}
	}
	return latest, err
}

// stillGone says that the incarnation which was being removed is past the
// point of no return, or has been replaced.
func stillGone(p *v1alpha1.Peer, uid types.UID) bool {
	return p.UID == uid && inventory.Gone(inventory.Phase(p)) || uid != "" && p.UID != uid
}

func (o *Operator) tooLate(r *inventory.Removal) error {
	e := &AlreadyError{Text: "too late to cancel: " + display.Already(r, o.Now())}
	if r.Over() && r.Declared && !r.Cancelling {
		e.Remedy = fmt.Sprintf("to let %s join anew, from scratch: kubectl delete peerremoval %s", r.Peer, r.Peer)
	}
	return e
}

// Readmit deletes a finished removal, exactly as it was followed, so that the
// node may join from scratch.
func (o *Operator) Readmit(ctx context.Context, declared *v1alpha1.PeerRemoval) error {
	var now v1alpha1.PeerRemoval
	if err := o.Client.Get(ctx, client.ObjectKeyFromObject(declared), &now); err != nil {
		return client.IgnoreNotFound(err)
	}
	if now.UID != declared.UID {
		return &AlreadyError{Text: fmt.Sprintf("another removal of %s was declared meanwhile: it is left standing", declared.Name)}
	}
	uid := now.UID
	// Its resourceVersion may still move by a status write, which does not
	// matter: Removed is final.
	err := o.Client.Delete(ctx, &now, client.Preconditions{UID: &uid})
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	return o.awaitGone(ctx, &now, "letting %s join again")
}
