// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/test/e2e/await"
)

// quick is a configuration whose waits a test can sit out.
func quick() ownership.Config {
	return ownership.Config{
		LeaseDuration: 2 * time.Second,
		ClaimTimeout:  2 * time.Second,
		GracePeriod:   time.Second,
		MaxRemovals:   1,
	}
}

// controllerOptions make a controller that runs in this process.
type controllerOptions struct {
	config ownership.Config
	wrap   func(http.RoundTripper) http.RoundTripper
	seed   uint64
}

// running is a controller in this process.
type running struct {
	metrics *prometheus.Registry
	stop    func()
}

var controllerToken *rest.Config

// runController starts a controller with the controller's own rights.
func runController(t *testing.T, o controllerOptions) *running {
	t.Helper()
	if controllerToken == nil {
		_, cfg, err := plane.KubeconfigFor(context.Background(), namespace, "selvage-controller", nil)
		if err != nil {
			t.Fatal(err)
		}
		controllerToken = cfg
	}
	cfg := rest.CopyConfig(controllerToken)
	cfg.QPS = -1
	if o.wrap != nil {
		cfg.Wrap(o.wrap)
	}
	grace := 10 * time.Second
	mgr, err := manager.New(cfg, manager.Options{
		Scheme: controllers.Scheme(), MapperProvider: controllers.Mapper, Cache: controllers.CacheOptions(namespace),
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0", GracefulShutdownTimeout: &grace,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{metrics: prometheus.NewRegistry()}
	o.config.Seed = o.seed
	_, err = controllers.Add(mgr, controllers.Options{
		Namespace: namespace, Config: o.config, Metrics: r.metrics, SkipNameValidation: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the controller: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// stage is a cluster for one test: a fleet, and what is cleared away after it.
type stage struct {
	*fleet
	t *testing.T
}

func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageAt(t, 50*time.Millisecond)
}

// newStageAt is one whose agents look at the API at a pace of their own.
func newStageAt(t *testing.T, pace time.Duration) *stage {
	t.Helper()
	s := &stage{t: t}
	t.Cleanup(s.strike)
	s.fleet = newFleet(t, pace)
	return s
}

func (s *stage) create(o client.Object) {
	s.t.Helper()
	if err := s.admin.Create(s.t.Context(), o); err != nil {
		s.t.Fatalf("creating %T %s: %v", o, o.GetName(), err)
	}
}

func (s *stage) pool(name, cidr string, first, largest int32) *v1alpha1.AddressPool {
	s.t.Helper()
	p := &v1alpha1.AddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.AddressPoolSpec{CIDR: cidr, RangePrefixLength: &first, MaxRangePrefixLength: &largest},
	}
	s.create(p)
	return p
}

func (s *stage) remove(name string, spec v1alpha1.PeerRemovalSpec) *v1alpha1.PeerRemoval {
	s.t.Helper()
	r := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	s.create(r)
	return r
}

func (s *stage) get(name string, o client.Object) error {
	return s.admin.Get(s.t.Context(), client.ObjectKey{Name: name}, o)
}

func (s *stage) peer(name string) *v1alpha1.Peer {
	s.t.Helper()
	var p v1alpha1.Peer
	if err := s.get(name, &p); err != nil {
		s.t.Fatal(err)
	}
	return &p
}

// owned are the ranges of the current incarnation of a peer.
func (s *stage) owned(name string) (out []v1alpha1.AddressRange, addresses int64, err error) {
	var p v1alpha1.Peer
	if err := s.get(name, &p); err != nil {
		return nil, 0, err
	}
	var ranges v1alpha1.AddressRangeList
	if err := s.admin.List(s.t.Context(), &ranges); err != nil {
		return nil, 0, err
	}
	for _, r := range ranges.Items {
		if r.Spec.Owner != nil && r.Spec.Owner.UID == p.UID {
			out = append(out, r)
			addresses += sizeOf(r.Spec.CIDR)
		}
	}
	return out, addresses, nil
}

func (s *stage) awaitOwned(name string, ranges int) []v1alpha1.AddressRange {
	s.t.Helper()
	var out []v1alpha1.AddressRange
	await.Until(s.t, fmt.Sprintf("%s to own %d ranges", name, ranges), func() error {
		var err error
		if out, _, err = s.owned(name); err != nil {
			return err
		}
		if len(out) != ranges {
			return fmt.Errorf("it owns %d; %s", len(out), s.explain(name))
		}
		return nil
	})
	return out
}

// explain is what a person would read of a peer and its removal.
func (s *stage) explain(name string) string {
	out := ""
	var p v1alpha1.Peer
	if s.get(name, &p) == nil {
		out += fmt.Sprintf("Peer %s: %+v ", p.Status.Phase, p.Status.Conditions)
	}
	var r v1alpha1.PeerRemoval
	if s.get(name, &r) == nil {
		out += fmt.Sprintf("PeerRemoval %s: %+v", r.Status.Phase, r.Status.Conditions)
	}
	return out
}

func (s *stage) awaitRemoved(name string) *v1alpha1.PeerRemoval {
	s.t.Helper()
	var r v1alpha1.PeerRemoval
	await.Until(s.t, name+" to be removed", func() error {
		if err := s.get(name, &r); err != nil {
			return err
		}
		if r.Status.Phase != v1alpha1.RemovalRemoved {
			return errors.New(s.explain(name))
		}
		return nil
	})
	return &r
}

// strike takes everything away by the means that a person has, which proves
// once more that every removal ends and nothing is left unowned.
func (s *stage) strike() {
	if s.t.Failed() {
		s.restart()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), await.Limit)
	defer cancel()
	s.fleet.check()
	ctl := runController(s.t, controllerOptions{config: quick()})
	err := s.clear(ctx)
	ctl.stop()
	if err != nil {
		s.t.Errorf("clearing away: %v", err)
		s.restart()
	}
}

// restart replaces a control plane that is no longer clean.
func (s *stage) restart() {
	plane.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*await.Limit)
	defer cancel()
	cp, err := controlplane.Start(ctx, controlplane.Options{Out: os.Stderr})
	if err == nil {
		err = cp.Install(ctx, configDir+"/default")
	}
	if err != nil {
		panic(fmt.Sprintf("starting the control plane anew: %v", err))
	}
	plane, controllerToken = cp, nil
	clear(tokens)
}

func (s *stage) clear(ctx context.Context) error {
	c := newClient(s.t, plane.Config)
	var left string
	for ctx.Err() == nil {
		var err error
		if left, err = s.clearOnce(ctx, c); err != nil {
			return err
		}
		if left == "" {
			return s.clearRest(ctx, c)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("after %s there is still %s", await.Limit, left)
}

// clearOnce declares all that is to go, and says what is left.
func (s *stage) clearOnce(ctx context.Context, c client.Client) (left string, err error) {
	if err := c.DeleteAllOf(ctx, &corev1.Node{}); err != nil {
		return "", err
	}
	if err := c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(metav1.NamespaceDefault), client.GracePeriodSeconds(0)); err != nil {
		return "", err
	}
	var peers v1alpha1.PeerList
	if err := c.List(ctx, &peers); err != nil {
		return "", err
	}
	for _, p := range peers.Items {
		left += " Peer " + p.Name
		r := &v1alpha1.PeerRemoval{ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Spec: v1alpha1.PeerRemovalSpec{AssertDown: true}}
		if err := c.Create(ctx, r); err != nil && !apierrors.IsAlreadyExists(err) {
			return "", err
		}
	}
	if len(peers.Items) > 0 {
		return left, s.assertAll(ctx, c)
	}
	if err := c.DeleteAllOf(ctx, &v1alpha1.PeerRemoval{}); err != nil {
		return "", err
	}
	if err := c.DeleteAllOf(ctx, &v1alpha1.AddressPool{}); err != nil {
		return "", err
	}
	for _, list := range []client.ObjectList{&v1alpha1.PeerRemovalList{}, &v1alpha1.AddressRangeList{}, &v1alpha1.AddressPoolList{}} {
		if err := c.List(ctx, list); err != nil {
			return "", err
		}
		if n := lengthOf(list); n > 0 {
			left += fmt.Sprintf(" %T: %d", list, n)
		}
	}
	return left, nil
}

func lengthOf(list client.ObjectList) int {
	switch l := list.(type) {
	case *v1alpha1.PeerRemovalList:
		return len(l.Items)
	case *v1alpha1.AddressRangeList:
		return len(l.Items)
	case *v1alpha1.AddressPoolList:
		return len(l.Items)
	}
	return 0
}

// assertAll vouches for removals that were declared before: their machines
// are gone.
func (s *stage) assertAll(ctx context.Context, c client.Client) error {
	var removals v1alpha1.PeerRemovalList
	if err := c.List(ctx, &removals); err != nil {
		return err
	}
	for i := range removals.Items {
		r := &removals.Items[i]
		if r.Spec.Heir != "" {
			// Everybody goes: there is nobody to inherit. Cancel, and
			// declare it again without an heir.
			if err := c.Delete(ctx, r); err != nil && !lost(err) {
				return err
			}
			continue
		}
		if r.Spec.AssertDown {
			continue
		}
		r.Spec.AssertDown = true
		if err := c.Update(ctx, r); err != nil && !lost(err) {
			return err
		}
	}
	return nil
}

func (s *stage) clearRest(ctx context.Context, c client.Client) error {
	return errors.Join(
		c.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(namespace)),
		c.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(controllers.HeartbeatNamespace)),
	)
}
