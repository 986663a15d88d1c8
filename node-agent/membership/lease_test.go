// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/selvage-net/selvage/api/v1alpha1"
)

// handClock is moved by hand.
type handClock struct{ now atomic.Int64 }

func (c *handClock) Now() time.Duration      { return time.Duration(c.now.Load()) }
func (c *handClock) advance(d time.Duration) { c.now.Add(int64(d)) }
func (c *handClock) set(d time.Duration)     { c.now.Store(int64(d)) }

// leaseTest is a Lease on a store in memory that compares and swaps, and that
// may do what it is told to and then not say so.
type leaseTest struct {
	*testing.T
	clock  *handClock
	client client.Client
	lost   bool // answers are lost
	dead   bool // requests do not arrive
	// late, if any, is done after a write has happened and before its answer.
	late  func()
	lease *Lease
}

var errLost = errors.New("the connection broke")

func newLeaseTest(t *testing.T) *leaseTest {
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	l := &leaseTest{T: t, clock: &handClock{}}
	l.clock.set(time.Hour)
	l.client = fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if l.dead {
				return errLost
			}
			err := c.Update(ctx, o, opts...)
			if l.lost {
				return errLost
			}
			if l.late != nil {
				l.late()
			}
			return err
		},
	}).Build()
	l.lease = l.another("run-1")
	return l
}

func (l *leaseTest) another(run string) *Lease {
	return NewLease(l.client, l.clock, "ns", "host1", run, 60*time.Second)
}

func (l *leaseTest) take(lease *Lease, uid string) {
	l.Helper()
	read, err := lease.Read(l.Context())
	if err == nil && read == nil {
		if err = lease.Place(l.Context()); err == nil {
			read, err = lease.Read(l.Context())
		}
	}
	if err == nil {
		err = lease.Takeable(read, uid)
	}
	if err == nil {
		err = lease.Take(l.Context(), read, uid, []string{"z", "a"}, "")
	}
	if err != nil {
		l.Fatal(err)
	}
}

// write writes a holder, as somebody else does.
func (l *leaseTest) write(holder string, annotations map[string]string) {
	l.Helper()
	var now coordinationv1.Lease
	if err := l.client.Get(l.Context(), l.lease.key, &now); err != nil {
		l.Fatal(err)
	}
	now.Spec.HolderIdentity, now.Annotations = &holder, annotations
	if err := l.client.Update(l.Context(), &now); err != nil {
		l.Fatal(err)
	}
}

func (l *leaseTest) now() *coordinationv1.Lease {
	l.Helper()
	var now coordinationv1.Lease
	if err := l.client.Get(l.Context(), l.lease.key, &now); err != nil {
		l.Fatal(err)
	}
	return &now
}

func TestLeaseRunsOut(t *testing.T) {
	l := newLeaseTest(t)
	if l.lease.Valid() == nil {
		t.Error("valid before it was taken")
	}
	l.take(l.lease, "uid")
	if now := l.now(); *now.Spec.HolderIdentity != "uid/run-1" || *now.Spec.LeaseDurationSeconds != 60 ||
		now.Annotations[v1alpha1.CutOffAnnotation] != "a,z" {
		t.Errorf("%+v", now)
	}
	l.clock.advance(54*time.Second - 1)
	if err := l.lease.Valid(); err != nil {
		t.Error(err)
	}
	l.clock.advance(1) // duration less margin
	if err := l.lease.Valid(); err == nil || !strings.Contains(err.Error(), "ran out") {
		t.Errorf("past its time: %v", err)
	}
	// Expired, but not sealed: renewed.
	if err := l.lease.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.lease.Valid(); err != nil {
		t.Error(err)
	}
}

// What counts is the time just before the renewal was sent, and a renewal whose
// answer was lost does not count.
func TestLeaseCountsFromBeforeTheRequest(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	l.clock.advance(30 * time.Second)
	l.lost = true
	if err := l.lease.Renew(t.Context()); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	l.lost = false
	l.clock.advance(24 * time.Second)
	if l.lease.Valid() == nil {
		t.Error("an unanswered renewal counted")
	}
	if err := l.lease.Renew(t.Context()); err != nil { // reads first, then writes
		t.Fatal(err)
	}
	if err := l.lease.Valid(); err != nil {
		t.Error(err)
	}
}

// A hold that is dropped while a renewal is under way stays dropped: the answer
// is about an incarnation that is none any more.
func TestLeaseDroppedDuringRenewal(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	dropped := errors.New("removed")
	l.late = func() { l.lease.Drop(dropped) }
	if err := l.lease.Renew(t.Context()); !errors.Is(err, dropped) {
		t.Error(err)
	}
	if err := l.lease.Valid(); !errors.Is(err, dropped) || l.lease.Held() {
		t.Errorf("held all the same: %v", err)
	}
}

// Nobody waits for another's request: the loop would wait with it.
func TestLeaseOneRequestAtATime(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	l.late = func() {
		l.late = nil
		if err := l.lease.Take(t.Context(), l.now(), "uid", nil, ""); !errors.Is(err, errBusy) {
			t.Error(err)
		}
		if err := l.lease.Place(t.Context()); !errors.Is(err, errBusy) {
			t.Error(err)
		}
	}
	if err := l.lease.Renew(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLeaseSealed(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	l.write(v1alpha1.SealedHolder, map[string]string{v1alpha1.SealedForAnnotation: "uid@3", v1alpha1.CutOffAnnotation: "old"})
	if err := l.lease.Renew(t.Context()); err == nil || l.lease.Held() || l.lease.Valid() == nil {
		t.Errorf("renewed a sealed Lease: %v", err)
	}
	if *l.now().Spec.HolderIdentity != v1alpha1.SealedHolder {
		t.Error("a renewal unsealed it")
	}
	l.take(l.lease, "uid")
	now := l.now()
	if _, left := now.Annotations[v1alpha1.SealedForAnnotation]; left || now.Annotations[v1alpha1.CutOffAnnotation] != "a,z" {
		t.Errorf("taken, with %v", now.Annotations)
	}
}

// Taking is a CAS on exactly what was read.
func TestLeaseTakenOnWhatWasRead(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	l.write(v1alpha1.SealedHolder, nil)
	_ = l.lease.Renew(t.Context()) // finds out
	read, err := l.lease.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.write(v1alpha1.SealedHolder, map[string]string{v1alpha1.SealedForAnnotation: "uid@9"}) // sealed anew meanwhile
	if err := l.lease.Take(t.Context(), read, "uid", nil, ""); !isConflict(err) {
		t.Errorf("took what had changed: %v", err)
	}
	if l.lease.Held() || l.lease.Valid() == nil {
		t.Error("held all the same")
	}
}

// An absent Lease is made sealed, whatever has become of it since it was read,
// and holds nothing.
func TestLeasePlaced(t *testing.T) {
	l := newLeaseTest(t)
	for range 2 { // the second time it is there
		if err := l.lease.Place(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := l.now(); *now.Spec.HolderIdentity != v1alpha1.SealedHolder || *now.Spec.LeaseDurationSeconds != 60 {
			t.Errorf("placed %+v", now.Spec)
		}
		if l.lease.Held() || l.lease.Valid() == nil {
			t.Error("held by having been placed")
		}
	}
	l.take(l.lease, "uid")
	if err := l.lease.Place(t.Context()); err != nil || *l.now().Spec.HolderIdentity != "uid/run-1" {
		t.Errorf("placing changed one that is held: %v, %+v", err, l.now().Spec)
	}
}

// What was read and is gone by now is not taken, nor renewed.
func TestLeaseGone(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	if err := l.client.Delete(t.Context(), l.now()); err != nil {
		t.Fatal(err)
	}
	if err := l.lease.Renew(t.Context()); err == nil || l.lease.Held() || l.lease.Valid() == nil {
		t.Errorf("renewed what is gone: %v", err)
	}
	l.take(l.lease, "uid")
	read := l.now()
	if err := l.client.Delete(t.Context(), l.now()); err != nil {
		t.Fatal(err)
	}
	second := l.another("run-2")
	if err := second.Take(t.Context(), read, "uid", nil, ""); err == nil || second.Held() {
		t.Errorf("took what is gone: %v", err)
	}
}

func TestLeaseCloned(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	second := l.another("run-2")
	l.take(second, "uid") // a starting run takes from any run of its own uid
	if err := l.lease.Renew(t.Context()); err == nil || !l.lease.Cloned() || l.lease.Valid() == nil {
		t.Errorf("renewed another run's: %v", err)
	}
	if err := l.lease.Takeable(l.now(), "uid"); err == nil {
		t.Error("it would take it back")
	}
	if err := second.Renew(t.Context()); err != nil {
		t.Error(err)
	}
	// A change by somebody else that leaves the holder is no clone.
	l.write("uid/run-2", map[string]string{"note": "by hand"})
	if err := second.Renew(t.Context()); err == nil || second.Cloned() || !second.Held() {
		t.Errorf("a conflict that was none: %v", err)
	}
	if err := second.Renew(t.Context()); err != nil {
		t.Error(err)
	}
}

// Another incarnation's Lease is taken only once it was watched to run out, for
// the duration that was written in it.
// A Lease that shows a run of this machine's that has ended has gone back in
// time, as after etcd was restored: nobody is cloned.
func TestLeaseOfTheFormerRun(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	before := *l.now().Spec.HolderIdentity
	second := l.another("run-2")
	second.Ended([]string{"run-0", "run-1"})
	l.take(second, "uid")
	l.write(before, nil)
	if err := second.Renew(t.Context()); err == nil || second.Held() || second.Cloned() {
		t.Errorf("cloned %t, held %t: %v", second.Cloned(), second.Held(), err)
	}
	l.take(second, "uid")
	if err := second.Valid(); err != nil {
		t.Error(err)
	}
}

func TestLeaseOfAnotherIncarnation(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid-0")
	next := l.another("run-2")
	wait := func() error { return next.Takeable(l.now(), "uid-1") }
	if wait() == nil {
		t.Fatal("taken at once")
	}
	l.clock.advance(40 * time.Second)
	if err := l.lease.Renew(t.Context()); err != nil { // it lives
		t.Fatal(err)
	}
	for _, step := range []time.Duration{0, 40 * time.Second, 25 * time.Second} {
		l.clock.advance(step)
		if wait() == nil {
			t.Fatalf("taken %s too early", 66*time.Second-step)
		}
	}
	l.clock.advance(time.Second)
	if err := wait(); err != nil {
		t.Errorf("watched to run out: %v", err)
	}
	l.take(next, "uid-1")
	if err := l.lease.Renew(t.Context()); err == nil || l.lease.Held() || l.lease.Cloned() {
		t.Errorf("the former: %v", err)
	}
}

func TestLeaseDeleted(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	if err := l.client.Delete(t.Context(), l.now()); err != nil {
		t.Fatal(err)
	}
	if err := l.lease.Renew(t.Context()); err == nil || l.lease.Held() {
		t.Errorf("renewed what is gone: %v", err)
	}
	l.take(l.lease, "uid")
	if err := l.lease.Valid(); err != nil {
		t.Error(err)
	}
}

func TestLeaseSay(t *testing.T) {
	l := newLeaseTest(t)
	if l.lease.Say([]string{"x"}, "t") {
		t.Error("news for a Lease that is not held")
	}
	l.take(l.lease, "uid")
	if l.lease.Say([]string{"a", "z"}, "") {
		t.Error("what it says already is no news")
	}
	if !l.lease.Say([]string{"a", "z", "x"}, "leader") {
		t.Error("no news")
	}
	if err := l.lease.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := l.now().Annotations; a[v1alpha1.CutOffAnnotation] != "a,x,z" || a[v1alpha1.TermAnnotation] != "leader" {
		t.Errorf("%v", a)
	}
}

// What is to be reported is said, and not what the caller makes of it later: a
// renewal must not report what the kernel has yet to do.
func TestLeaseKeepsItsReport(t *testing.T) {
	l := newLeaseTest(t)
	l.take(l.lease, "uid")
	report := []string{"cut"}
	l.lease.Say(report, "")
	report[0] = "not yet"
	if err := l.lease.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := l.now().Annotations; a[v1alpha1.CutOffAnnotation] != "cut" {
		t.Errorf("reported %v", a)
	}
}
