// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// rangesOf lists what a peer of that name owns.
func (w *world) rangesOf(ctx context.Context, name string) ([]v1alpha1.AddressRange, error) {
	list := &v1alpha1.AddressRangeList{}
	if err := w.client.List(ctx, list); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(r v1alpha1.AddressRange) bool {
		return r.Spec.Owner == nil || r.Spec.Owner.Name != name
	}), nil
}

// owns says what is missing until the peer owns so many ranges, its agent has
// taken them up, and the controller has counted them.
func (w *world) owns(ctx context.Context, name string, want int) error {
	if err := w.machines[name].check(); err != nil {
		return err
	}
	if !w.controller.Running() {
		return &finalError{w.controller.Failure()}
	}
	ranges, err := w.rangesOf(ctx, name)
	if err != nil {
		return err
	}
	if len(ranges) != want {
		return fmt.Errorf("%s owns %d ranges, not %d", name, len(ranges), want)
	}
	for _, r := range ranges {
		if r.Status.ObservedEpoch != r.Spec.Epoch {
			return fmt.Errorf("the agent of %s has taken up epoch %d of %s, not yet %d", name, r.Status.ObservedEpoch, r.Name, r.Spec.Epoch)
		}
	}
	peer := &v1alpha1.Peer{}
	if err := w.client.Get(ctx, client.ObjectKey{Name: name}, peer); err != nil {
		return err
	}
	if int(peer.Status.Ranges) != want || peer.Status.Addresses != int64(want)*rangeSize {
		return fmt.Errorf("the status of %s counts %d ranges and %d addresses", name, peer.Status.Ranges, peer.Status.Addresses)
	}
	for _, c := range peer.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && c.Status == "True" {
			return nil
		}
	}
	return fmt.Errorf("%s is not Ready: %+v", name, peer.Status.Conditions)
}

// holder is the run of the agent that holds the host's Lease.
func (w *world) holder(ctx context.Context, m *machine) (string, error) {
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: namespace, Name: v1alpha1.LeasePrefix + m.name}
	if err := w.client.Get(ctx, key, lease); err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil {
		return "", nil
	}
	return *lease.Spec.HolderIdentity, nil
}

func (w *world) inRangeOf(ctx context.Context, address netip.Addr, name string) error {
	ranges, err := w.rangesOf(ctx, name)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if cidr, err := netip.ParsePrefix(r.Spec.CIDR); err == nil && cidr.Contains(address) {
			return nil
		}
	}
	return fmt.Errorf("%s is in no range of %s", address, name)
}

// allPing pings each pod from each other one.
func (w *world) allPing(ctx context.Context) (int, error) {
	count := 0
	for _, from := range w.pods {
		for _, to := range w.pods {
			if from == to {
				continue
			}
			if err := from.reaches(ctx, to); err != nil {
				return count, fmt.Errorf("%s on %s does not reach %s on %s: %w", from.name, from.machine.name, to.name, to.machine.name, err)
			}
			count++
		}
	}
	return count, nil
}

func (w *world) addresses() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		all = append(all, name+" "+w.pods[name].address.String())
	}
	return strings.Join(all, ", ")
}

func (w *world) rejoin(ctx context.Context, say *scribe) (string, error) {
	before, err := w.rangesOf(ctx, w.heir)
	if err != nil {
		return "", err
	}
	if _, err := w.show(ctx, say, "kubectl", "delete", "peerremoval", "host3"); err != nil {
		return "", err
	}
	var uid types.UID
	err = eventually(ctx, func(ctx context.Context) (err error) {
		uid, err = w.joinedAnew(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	after, err := w.rangesOf(ctx, w.heir)
	if err != nil {
		return "", err
	}
	if len(after) >= len(before) {
		return "", fmt.Errorf("%s still owns %d ranges", w.heir, len(after))
	}
	if err := w.pods["pod3"].detach(ctx); err != nil {
		return "", err
	}
	sixth, err := w.machines["host3"].runPod(ctx, "pod6", netip.Addr{})
	if err != nil {
		return "", err
	}
	if err := w.inRangeOf(ctx, sixth.address, "host3"); err != nil {
		return "", err
	}
	pings, err := w.allPing(ctx)
	if err != nil {
		return "", err
	}
	if _, err := w.show(ctx, say, "kubectl", "get", "addressranges"); err != nil {
		return "", err
	}
	return fmt.Sprintf("host3 is a new peer (uid %s); %s; %d of %d pings answered", uid, w.addresses(), pings, pings), nil
}

// joinedAnew says what host3 lacks to be a peer again.
func (w *world) joinedAnew(ctx context.Context) (types.UID, error) {
	if err := w.machines["host3"].check(); err != nil {
		return "", err
	}
	peer := &v1alpha1.Peer{}
	if err := w.client.Get(ctx, client.ObjectKey{Name: "host3"}, peer); err != nil {
		return "", err
	}
	ranges, err := w.rangesOf(ctx, "host3")
	if err != nil {
		return "", err
	}
	if len(ranges) == 0 {
		return "", fmt.Errorf("host3 owns nothing yet: %+v", peer.Status.Conditions)
	}
	for _, r := range ranges {
		if r.Spec.Owner.UID != peer.UID || r.Status.ObservedEpoch != r.Spec.Epoch {
			return "", fmt.Errorf("host3 has not taken %s up yet", r.Name)
		}
	}
	return peer.UID, nil
}
