// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// told is what was written last, and when: a cache shows it a little later,
// and what is of little use is not written often.
type told struct {
	peerUID string
	peer    *v1alpha1.AgentReport
	peerAt  time.Duration
	ranges  map[string]toldRange
}

type toldRange struct {
	status v1alpha1.AddressRangeStatus
	at     time.Duration
}

func newTold() told { return told{ranges: map[string]toldRange{}} }

// lag is how long a cache may take to show what was written.
const lag = 5 * time.Second

// telling is what a row adds to the report.
type telling struct {
	suspended string
	// fenced is the generation acknowledged; 0: none.
	fenced int64
	// leaving: this incarnation is to be removed.
	leaving bool
}

// tell reports on the Peer and on own ranges, with as few writes as will do.
func (a *Agent) tell(ctx context.Context, s *sight, peer *v1alpha1.Peer, t telling) error {
	if err := a.tellPeer(ctx, s, peer, a.report(peer, t)); err != nil {
		return err
	}
	return a.tellRanges(ctx, s)
}

// report is status.agent as it should be.
func (a *Agent) report(peer *v1alpha1.Peer, t telling) *v1alpha1.AgentReport {
	r := &v1alpha1.AgentReport{
		Version: a.Version, HostName: a.HostName, NodeUID: types.UID(a.nodeUID), VTEP: a.vtep, Headroom: a.Headroom,
		Leaving: t.leaving || a.leaving.Load() != nil, Suspended: clip(t.suspended, 1024),
	}
	for _, addr := range a.underlay {
		r.Underlay = append(r.Underlay, addr.String())
	}
	if len(r.Underlay) > 4 {
		r.Underlay = r.Underlay[:4]
	}
	for name, use := range a.Ledger.Pools() {
		r.Pools = append(r.Pools, v1alpha1.PoolUse{Name: name, Capacity: use.Capacity, Used: use.Used})
	}
	slices.SortFunc(r.Pools, func(x, y v1alpha1.PoolUse) int { return cmp.Compare(x.Name, y.Name) })
	if t.fenced != 0 {
		r.Fenced = &v1alpha1.AgentFence{Generation: t.fenced}
	}
	if was := peer.Status.Agent; was != nil {
		r.Contender = was.Contender // the other instance's to say
	}
	return r
}

func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n-3] + "..."
}

// The least time between two writes about the same object, by what they say.
const (
	soon       = time.Second
	usePeriod  = 15 * time.Second
	idleRanges = 60 * time.Second
)

// reportPeriod is how long after the last write a report may wait; false:
// it says nothing new.
func reportPeriod(was, want *v1alpha1.AgentReport) (time.Duration, bool) {
	if was == nil {
		return 0, true
	}
	if reflect.DeepEqual(was, want) {
		return 0, false
	}
	a, b := *was, *want
	a.Pools, b.Pools = nil, nil
	if !reflect.DeepEqual(a, b) {
		return 0, true
	}
	if len(was.Pools) != len(want.Pools) {
		return soon, true
	}
	for i, now := range want.Pools {
		before := was.Pools[i]
		if before.Name != now.Name || before.Capacity != now.Capacity {
			return soon, true
		}
		// Growing is to begin before the peer runs dry.
		if wanted := headroom(want, now.Capacity); now.Used > before.Used && now.Capacity-now.Used < wanted {
			return soon, true
		}
	}
	return usePeriod, true
}

// headroom is the low-water mark, or about what the controller takes for it.
func headroom(r *v1alpha1.AgentReport, capacity int64) int64 {
	if r.Headroom != nil {
		return *r.Headroom
	}
	return min(256, capacity/4)
}

func (a *Agent) tellPeer(ctx context.Context, s *sight, peer *v1alpha1.Peer, want *v1alpha1.AgentReport) error {
	period, news := reportPeriod(peer.Status.Agent, want)
	if !news {
		return nil
	}
	now := a.Clock.Now()
	if a.flush(s) {
		period = 0
	}
	if a.told.peerUID == string(peer.UID) {
		since := now - a.told.peerAt
		if !s.Consistent && since < lag && reflect.DeepEqual(a.told.peer, want) {
			return nil
		}
		if since < period {
			a.dueIn(period - since)
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := a.patchPeer(ctx, peer, func(status *v1alpha1.PeerStatus) { status.Agent = want }); err != nil {
		return fmt.Errorf("reporting on Peer %s: %w", a.Name, err)
	}
	a.told.peerUID, a.told.peer, a.told.peerAt = string(peer.UID), want, now
	return nil
}

// patchPeer patches status.agent of exactly the Peer object that was read. A
// Peer made anew under that name has another resourceVersion, and on a
// conflict the Peer is read again, and left alone if it is another.
func (a *Agent) patchPeer(ctx context.Context, peer *v1alpha1.Peer, change func(*v1alpha1.PeerStatus)) error {
	base := peer
	for attempt := 0; ; attempt++ {
		next := base.DeepCopy()
		change(&next.Status)
		a.Metrics.writes.WithLabelValues("peers").Inc()
		err := a.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if err == nil || attempt > 1 || !isConflict(err) {
			return err
		}
		base = &v1alpha1.Peer{}
		if err := a.Client.Get(ctx, client.ObjectKeyFromObject(peer), base); err != nil {
			return err
		}
		if base.UID != peer.UID {
			return errAgain
		}
	}
}

// flush reports whether all is to be told now: before a term is echoed.
func (a *Agent) flush(s *sight) bool {
	leader := a.leader.Load()
	return s.Consistent && leader != nil && *leader != a.term
}

// dueIn has the loop go round again after that time, or earlier.
func (a *Agent) dueIn(d time.Duration) {
	if a.due == 0 || d < a.due {
		a.due = max(d, settle)
	}
}

// watchUse kicks the loop when what pods use is to be told. An allocation does
// not: it has nothing to do with the API.
func (a *Agent) watchUse() func(context.Context) time.Duration {
	var last map[string]int64
	return func(context.Context) time.Duration {
		now := map[string]int64{}
		for name, use := range a.Ledger.Pools() {
			now[name] = use.Used
			a.Metrics.setPool(name, use)
		}
		if !reflect.DeepEqual(now, last) {
			last = now
			a.Kick()
		}
		return soon
	}
}
