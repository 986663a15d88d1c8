// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package removal declares, follows and takes back removals on behalf of a
// person: what rmpeer, cancel and reset do once it is known which peer is
// meant. Every write carries what it was decided on as a precondition, so two
// people at once get one removal, and the second one is told who was first.
package removal

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/display"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/inventory"
	"github.com/selvage-net/selvage/cmd/kubectl-selvage/survey"
)

// attempts bounds how often a write is decided again after somebody else's.
const attempts = 10

// Operator acts on removals.
type Operator struct {
	Client client.Client
	// Namespace is where Selvage is installed.
	Namespace string
	// Poll is how often a wait looks again.
	Poll time.Duration
	// Now is the time that messages are written for.
	Now func() time.Time
	// Say is told of each step, in a sentence; a step that Fleeting says is
	// replaced by the next one where the output can do that.
	Say func(step Step)
}

// Step is something that happened or is being waited for.
type Step struct {
	Text string
	// Fleeting steps are a wait's progress. Key tells progress from mere
	// countdown: a text that changes while its Key stays is no news.
	Fleeting bool
	Key      string
}

// Request is what is asked for.
type Request struct {
	// Peer is the name of the peer, which need not exist any more.
	Peer       string
	Heir       string
	AssertDown bool
}

// AlreadyError says that the peer is removed, or being removed, otherwise than
// was asked for.
type AlreadyError struct{ Text, Remedy string }

func (e *AlreadyError) Error() string {
	if e.Remedy == "" {
		return e.Text
	}
	return e.Text + "\n" + e.Remedy
}

// Result says what Declare did: the removal that stands now.
type Result struct {
	Removal *v1alpha1.PeerRemoval
	// Verb is created, configured, unchanged or replaced, as kubectl says it.
	Verb string
}

// Fresh says that this call declared the removal.
func (r *Result) Fresh() bool { return r.Verb == "created" || r.Verb == "replaced" }

// Declare sees to it that a PeerRemoval stands for today's instance of the
// peer. One that stands with the same heir is left standing; one with another
// heir is an AlreadyError; one that is bound to a former instance is replaced.
func (o *Operator) Declare(ctx context.Context, req Request) (*Result, error) {
	replaced := false
	for range attempts {
		s, err := o.read(ctx)
		if err != nil {
			return nil, err
		}
		peer, stands := s.Peer(req.Peer), s.Declared(req.Peer)
		switch {
		case stands == nil:
			if r := s.Removal(req.Peer); r != nil && r.Fixed() && r.Heir != req.Heir {
				return nil, o.already(r)
			}
			result, err := o.create(ctx, req, peer)
			if apierrors.IsAlreadyExists(err) {
				continue // somebody was faster: see what they declared
			}
			if err == nil && replaced {
				result.Verb = "replaced"
			}
			return result, err
		case !stands.DeletionTimestamp.IsZero():
			err = o.awaitGone(ctx, stands, "waiting for the former removal of %s to go")
		case inventory.FormerInstance(stands, peer):
			replaced = true
			err = o.replace(ctx, stands)
		case stands.Spec.Heir != req.Heir:
			return nil, o.already(s.Removal(req.Peer))
		default:
			var result *Result
			if result, err = o.goOn(ctx, stands, req); err == nil {
				return result, nil
			}
		}
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the removal of %s kept changing under our hands: somebody else is at it; look with: kubectl get peerremoval %s", req.Peer, req.Peer)
}

func (o *Operator) create(ctx context.Context, req Request, peer *v1alpha1.Peer) (*Result, error) {
	r := &v1alpha1.PeerRemoval{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PeerRemoval"},
		ObjectMeta: metav1.ObjectMeta{Name: req.Peer},
		Spec:       v1alpha1.PeerRemovalSpec{Heir: req.Heir, AssertDown: req.AssertDown},
	}
	if peer != nil {
		r.Spec.InstanceID = peer.Spec.InstanceID
	}
	if err := o.Client.Create(ctx, r); err != nil {
		return nil, err
	}
	return &Result{Removal: r, Verb: "created"}, nil
}

// goOn leaves a removal standing that says what was asked for, and adds
// assertDown to it if that was asked for.
func (o *Operator) goOn(ctx context.Context, stands *v1alpha1.PeerRemoval, req Request) (*Result, error) {
	if !req.AssertDown || stands.Spec.AssertDown || stands.Status.Phase == v1alpha1.RemovalRemoved {
		return &Result{Removal: stands, Verb: "unchanged"}, nil
	}
	stands.Spec.AssertDown = true
	if err := o.Client.Update(ctx, stands); err != nil {
		return nil, err
	}
	return &Result{Removal: stands, Verb: "configured"}, nil
}

// replace deletes exactly the removal that was read.
func (o *Operator) replace(ctx context.Context, stands *v1alpha1.PeerRemoval) error {
	o.Say(Step{Text: fmt.Sprintf("replacing the removal of a former instance of %s", stands.Name)})
	if err := o.Client.Delete(ctx, stands, preconditions(stands)); err != nil {
		return err
	}
	return o.awaitGone(ctx, stands, "waiting for the former removal of %s to go")
}

func preconditions(obj client.Object) client.Preconditions {
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	return client.Preconditions{UID: &uid, ResourceVersion: &version}
}

func (o *Operator) already(r *inventory.Removal) error {
	e := &AlreadyError{Text: display.Already(r, o.Now())}
	switch {
	case r.Over() && r.Declared:
		e.Remedy = fmt.Sprintf("to let %s join anew: kubectl delete peerremoval %s", r.Peer, r.Peer)
	case r.Over():
	case r.Fixed():
		e.Remedy = "evidence and heir are fixed: it can no longer be cancelled, and ends by itself"
	default:
		e.Remedy = "to name another heir, cancel it first: kubectl selvage cancel " + r.Peer
	}
	return e
}

// awaitGone waits until exactly this object is gone.
func (o *Operator) awaitGone(ctx context.Context, gone *v1alpha1.PeerRemoval, text string) error {
	err := o.until(ctx, func(ctx context.Context) (bool, error) {
		var now v1alpha1.PeerRemoval
		err := o.Client.Get(ctx, client.ObjectKeyFromObject(gone), &now)
		if apierrors.IsNotFound(err) || err == nil && now.UID != gone.UID {
			return true, nil
		}
		o.Say(Step{Text: fmt.Sprintf(text+": the controller takes its finalizer off", gone.Name), Fleeting: true})
		return false, err
	})
	if err != nil && ctx.Err() != nil {
		return &WaitError{Waiting: fmt.Sprintf(text, gone.Name) + ": is the controller running? (kubectl selvage status)", Cause: err}
	}
	return err
}

// read reads removals and then peers: whatever became of a removal that is
// seen, or seen to be gone, its peer shows it.
func (o *Operator) read(ctx context.Context) (*inventory.State, error) {
	s := survey.Read(ctx, o.Client, o.Namespace, inventory.Removals, inventory.Peers)
	return s, s.Require(inventory.Removals, inventory.Peers)
}

// WaitError says what was waited for when the time was up, or when the wait
// was interrupted.
type WaitError struct {
	Waiting string
	// Cause is context.DeadlineExceeded if the time was up.
	Cause error
}

func (e *WaitError) Error() string {
	if e.Timeout() {
		return "timed out: " + e.Waiting
	}
	return "interrupted: " + e.Waiting
}

// Timeout says that the time was up, and not that somebody interrupted.
func (e *WaitError) Timeout() bool { return errors.Is(e.Cause, context.DeadlineExceeded) }

// until looks again and again until done, which may be with an error. An API server that does not answer is not the
// end of a wait: that is told, and tried again.
func (o *Operator) until(ctx context.Context, done func(context.Context) (bool, error)) error {
	tick := time.NewTicker(o.Poll)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		switch {
		case ok:
			return err
		case err != nil && ctx.Err() == nil && !transient(err):
			return err
		case err != nil && ctx.Err() == nil:
			o.Say(Step{Text: fmt.Sprintf("the API server does not answer (%v): trying again", err), Fleeting: true, Key: "no answer"})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// transient errors are those that time may cure.
func transient(err error) bool {
	var status apierrors.APIStatus
	var network *url.Error
	if !errors.As(err, &status) {
		return errors.As(err, &network) // no answer at all
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}
