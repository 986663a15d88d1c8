// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// tellRanges reports on own ranges, and answers what is asked back.
func (a *Agent) tellRanges(ctx context.Context, s *sight) error {
	record := a.Store.Record()
	shown := map[string]*v1alpha1.AddressRange{}
	for i := range s.Ranges {
		shown[string(s.Ranges[i].UID)] = &s.Ranges[i]
	}
	asked := false
	for _, r := range a.world.own() {
		object := shown[r.uid]
		if r.gone || object == nil || object.Spec.Epoch != r.epoch {
			continue
		}
		if r.asked != nil && r.wanted() {
			asked = true
			if err := a.seal(r, record); err != nil {
				return err
			}
		}
		if err := a.tellRange(ctx, s, r, object, record); err != nil {
			return err
		}
	}
	a.eager.Store(asked || a.row != Resume)
	return nil
}

// wanted reports whether what is asked back has yet to be promised.
func (r *heldRange) wanted() bool {
	return r.answered == nil || (*narrower(r.asked, r.answered) != *r.answered)
}

// seal promises to keep to what is asked, once nothing outside it is held: no
// pod has an address there, none is being given, no link is dying with one.
func (a *Agent) seal(r *heldRange, record Record) error {
	keep := *r.asked
	if promised, ok := a.world.answers[r.uid]; ok && promised.epoch == r.epoch && promised.keep == keep {
		return nil
	}
	if slices.Contains(record.HostRanges, r.uid) && !keep.IsValid() {
		return nil // the host's own address is in use
	}
	parts := outside(r.cidr, keep)
	if !slices.ContainsFunc(parts, func(p netip.Prefix) bool { return !a.Ledger.Idle(p) }) {
		busy, err := a.linksIn(parts)
		if err != nil || busy {
			return err
		}
		a.world.promise(r, keep)
		a.Log.Info("gave back", "range", r.name, "cidr", r.cidr, "keeps", keep)
		return a.Store.Update(func(record *Record) { a.world.remember(record, a.heldByPod) })
	}
	return nil
}

// linksIn reports whether any link, dying or not, has an address there.
func (a *Agent) linksIn(parts []netip.Prefix) (bool, error) {
	attachments, err := a.Kernel.Dump()
	if err != nil {
		return false, fmt.Errorf("reading the pods' interfaces: %w", err)
	}
	return slices.ContainsFunc(attachments, func(at datapath.Attachment) bool {
		return slices.ContainsFunc(at.Addresses, func(addr netip.Addr) bool {
			return slices.ContainsFunc(parts, func(p netip.Prefix) bool { return p.Contains(addr) })
		})
	}), nil
}

// outside is what of cidr is not in keep, which begins where cidr begins; all
// of it if keep is none.
func outside(cidr, keep netip.Prefix) []netip.Prefix {
	if !keep.IsValid() {
		return []netip.Prefix{cidr}
	}
	var parts []netip.Prefix
	for bits := cidr.Bits() + 1; bits <= keep.Bits(); bits++ {
		bytes := keep.Addr().AsSlice()
		bytes[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
		upper, _ := netip.AddrFromSlice(bytes)
		parts = append(parts, netip.PrefixFrom(upper, bits))
	}
	return parts
}

// tellRange writes observedEpoch and the answer at once, use now and then.
func (a *Agent) tellRange(ctx context.Context, s *sight, r *heldRange, object *v1alpha1.AddressRange, record Record) error {
	want := object.Status
	if known := record.Ranges[r.uid]; known.Owned && known.Epoch == r.epoch {
		want.ObservedEpoch = r.epoch
	}
	want.Used = a.Ledger.Used(r.name)
	if slices.Contains(record.HostRanges, r.uid) {
		want.Used++
	}
	if promised, ok := a.world.answers[r.uid]; ok && promised.epoch == r.epoch {
		want.Sealed = &v1alpha1.RangeSeal{Epoch: r.epoch}
		if promised.keep.IsValid() {
			want.Sealed.Keep = promised.keep.String()
		}
	}
	period, news := rangePeriod(&object.Status, &want)
	if !news {
		return nil
	}
	now := a.Clock.Now()
	if a.flush(s) {
		period = 0
	}
	if last, ok := a.told.ranges[r.uid]; ok {
		since := now - last.at
		if !s.Consistent && since < lag && reflect.DeepEqual(last.status, want) {
			return nil
		}
		if since < period {
			a.dueIn(period - since)
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	next := object.DeepCopy()
	next.Status = want
	a.Metrics.writes.WithLabelValues("addressranges").Inc()
	err := a.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(object, client.MergeFromWithOptimisticLock{}))
	if isConflict(err) {
		return errAgain
	}
	if err != nil {
		return fmt.Errorf("reporting on AddressRange %s: %w", r.name, err)
	}
	a.told.ranges[r.uid] = toldRange{status: want, at: now}
	return nil
}

// rangePeriod is how long after the last write a range's status may wait;
// false: it says nothing new.
func rangePeriod(was, want *v1alpha1.AddressRangeStatus) (time.Duration, bool) {
	switch {
	case was.ObservedEpoch != want.ObservedEpoch, !reflect.DeepEqual(was.Sealed, want.Sealed):
		return 0, true
	case was.Used == want.Used:
		return 0, false
	case (was.Used == 0) != (want.Used == 0):
		return lag, true
	}
	return idleRanges, true
}

// forget takes all ranges out of the ledger. What pods hold stays counted.
func (a *Agent) forget() { a.Ledger.SetRanges([]addresses.Range{}) }
