// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controller

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
)

func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

func sizeOf(cidr string) int64 {
	p := netip.MustParsePrefix(cidr)
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits())).Int64()
}

// fleet is all scripted agents: one goroutine looks at the API, consistently,
// and lets each take a step.
type fleet struct {
	t     *testing.T
	admin client.Client
	stop  func()
	// pace is how often they look.
	pace time.Duration

	mu     sync.Mutex
	agents map[string]*agent
	failed map[string]error
	// last is what was seen last.
	last *world
}

// tokens are kept over the tests: asking for one takes several requests.
var tokens = map[string]*rest.Config{}

func newFleet(t *testing.T, pace time.Duration) *fleet {
	t.Helper()
	f := &fleet{t: t, pace: pace, admin: newClient(t, plane.Config), agents: map[string]*agent{}, failed: map[string]error{}}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { f.drive(ctx) })
	f.stop = func() { cancel(); done.Wait() }
	t.Cleanup(f.stop)
	return f
}

func newClient(t *testing.T, cfg *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(cfg, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// drive steps all agents for ever.
func (f *fleet) drive(ctx context.Context) {
	tick := time.NewTicker(f.pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w, err := f.look(ctx)
		if err != nil {
			continue
		}
		f.mu.Lock()
		f.last = w
		f.mu.Unlock()
		for _, a := range f.all() {
			err := a.step(ctx, w.copyFor(a.name))
			f.mu.Lock()
			if err != nil && !lost(err) && ctx.Err() == nil {
				f.failed[a.name] = err
			} else {
				delete(f.failed, a.name)
			}
			f.mu.Unlock()
		}
	}
}

func (f *fleet) all() (out []*agent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.agents {
		out = append(out, a)
	}
	return out
}

func (f *fleet) look(ctx context.Context) (*world, error) {
	w := &world{peers: map[string]*v1alpha1.Peer{}, removals: map[string]*v1alpha1.PeerRemoval{}, leases: map[string]*coordinationv1.Lease{}}
	// The Lease, or its absence, before all else.
	var leases coordinationv1.LeaseList
	var peers v1alpha1.PeerList
	var ranges v1alpha1.AddressRangeList
	var removals v1alpha1.PeerRemovalList
	if err := f.admin.List(ctx, &leases, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	// Ranges before Peers: an owner that is not among the Peers is gone.
	for _, l := range []client.ObjectList{&removals, &ranges, &peers} {
		if err := f.admin.List(ctx, l); err != nil {
			return nil, err
		}
	}
	for i := range leases.Items {
		if name, ok := strings.CutPrefix(leases.Items[i].Name, v1alpha1.LeasePrefix); ok {
			w.leases[name] = &leases.Items[i]
		} else if h := leases.Items[i].Spec.HolderIdentity; leases.Items[i].Name == v1alpha1.LeaderLease && h != nil {
			w.term = *h
		}
	}
	for i := range peers.Items {
		w.peers[peers.Items[i].Name] = &peers.Items[i]
	}
	for i := range removals.Items {
		w.removals[removals.Items[i].Name] = &removals.Items[i]
	}
	w.ranges = ranges.Items
	return w, nil
}

// copyFor gives an agent copies of what it writes, as from its own LIST.
func (w *world) copyFor(name string) *world {
	out := *w
	out.peers = maps.Clone(w.peers)
	if p := w.peers[name]; p != nil {
		out.peers[name] = p.DeepCopy()
	}
	out.ranges = slices.Clone(w.ranges)
	for i := range out.ranges {
		if o := out.ranges[i].Spec.Owner; o != nil && o.Name == name {
			out.ranges[i] = *w.ranges[i].DeepCopy()
		}
	}
	return &out
}

// add registers a Node and starts its agent.
func (f *fleet) add(name string, s script) *agent {
	f.t.Helper()
	a := f.prepare(name, s)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.agents[name] = a
	return a
}

func (f *fleet) prepare(name string, s script) *agent {
	f.t.Helper()
	ctx := f.t.Context()
	var node corev1.Node
	if err := f.admin.Get(ctx, types.NamespacedName{Name: name}, &node); err != nil {
		f.newNode(name, &node)
	}
	return &agent{
		name: name, nodeUID: node.UID, client: newClient(f.t, f.token(name)),
		underlay: node.Status.Addresses[0].Address, script: s, seen: map[types.UID]int64{},
	}
}

var nodesMade int

func (f *fleet) newNode(name string, out *corev1.Node) {
	f.t.Helper()
	nodesMade++
	made, err := plane.NewNode(f.t.Context(), name, netip.AddrFrom4([4]byte{192, 168, byte(nodesMade / 250), byte(1 + nodesMade%250)}))
	if err != nil {
		f.t.Fatal(err)
	}
	*out = *made
}

// token is for the agent of a node, bound to that agent's pod.
func (f *fleet) token(node string) *rest.Config {
	f.t.Helper()
	if cfg, ok := tokens[node]; ok {
		return cfg
	}
	pod, err := plane.NewPod(f.t.Context(), namespace, fmt.Sprintf("selvage-agent-%s", node), node, "selvage-agent")
	if err != nil {
		f.t.Fatal(err)
	}
	_, cfg, err := plane.KubeconfigFor(f.t.Context(), namespace, "selvage-agent", pod)
	if err != nil {
		f.t.Fatal(err)
	}
	cfg.QPS = -1
	tokens[node] = cfg
	return cfg
}

// check fails the test if an agent saw what must not be.
func (f *fleet) check() {
	f.t.Helper()
	for _, a := range f.all() {
		a.mu.Lock()
		if a.wrong != nil {
			f.t.Error(a.wrong)
		}
		a.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, err := range f.failed {
		f.t.Errorf("agent %s: %v", name, err)
	}
}

// pod makes a Pod object that carries addresses.
func (f *fleet) pod(name, node string, addresses ...string) *corev1.Pod {
	f.t.Helper()
	p, err := plane.NewPod(f.t.Context(), metav1.NamespaceDefault, name, node, "")
	if err != nil {
		f.t.Fatal(err)
	}
	var addrs []netip.Addr
	for _, s := range addresses {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	if err := plane.SetPodAddresses(f.t.Context(), p, addrs...); err != nil {
		f.t.Fatal(err)
	}
	return p
}
