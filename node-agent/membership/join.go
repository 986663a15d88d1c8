// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// scratch cuts off every leftover pod, mints a new instanceID, which is durable
// before it is in the API, and joins.
func (a *Agent) scratch(ctx context.Context, s *sight) error {
	err := errors.New("this node is joining the network")
	a.settleStance(stance{refuse: err, unhealthy: err, waiting: a.stillWaiting()})
	left, err := a.abandon(s, "its node starts from scratch")
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return waitFor(fencePeriod, "%d leftover pods to be cut off: %s", len(left), brief(left))
	}
	if s.Node == nil {
		return waitFor(5*time.Second, "the Node %s: is --node-name the name that the kubelet registered?", a.Name)
	}
	if !s.Consistent {
		return errAgain
	}
	record := a.Store.Record()
	// An instance that was minted and never joined may be in a create that is
	// still under way: it is used again.
	if record.InstanceID == "" || record.Joined() || !record.Machine.Same(a.machine) {
		if err := a.Store.Update(func(r *Record) { r.begin(a.NewID(), a.machine) }); err != nil {
			return err
		}
		record = a.Store.Record()
	}
	return a.create(ctx, record.InstanceID)
}

func (a *Agent) create(ctx context.Context, instance string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	peer := &v1alpha1.Peer{
		ObjectMeta: metav1.ObjectMeta{Name: a.Name, Finalizers: []string{v1alpha1.OwnershipFinalizer}},
		Spec:       v1alpha1.PeerSpec{NodeName: a.Name, NodeUID: types.UID(a.nodeUID), InstanceID: instance},
	}
	a.Metrics.writes.WithLabelValues("peers").Inc()
	err := a.Client.Create(ctx, peer)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating Peer %s: %w", a.Name, err)
	}
	if err == nil {
		a.Log.Info("joined", "peer", peer.UID, "instance", instance)
	}
	return errAgain // what is there now is read, whoever made it
}
