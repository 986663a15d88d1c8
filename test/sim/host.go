// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/datapath"
	"github.com/selvage-net/selvage/node-agent/membership"
	"github.com/selvage-net/selvage/test/sim/apiserver"
)

// Host is a node: a machine with a kernel and a disk, on which a kubelet and an
// agent run.
type Host struct {
	machine
	Name string
	// On: it is switched on.
	On bool

	link   *link // of the agent
	random *rand.Rand
	kernel *datapath.Fake
	disk   disk
	// fingerprint changes with the machine.
	fingerprint string
	underlay    netip.Addr
	onGone      func(datapath.Attachment)
	agent       *agent

	// wanted is how many pods shall run, pods are those that do.
	wanted   int
	pods     []*pod
	made     int
	stopping sync.Mutex
	stops    map[string]bool
	// kubelet numbers the kubelet's runs.
	kubelet int
}

// agent is a run of the agent.
type agent struct {
	*process
	membership *membership.Agent
	cni        *cniserver.Server
	book       *ledger
	// adding are the sandboxes for which an ADD is under way.
	adding map[string]bool
}

// rate is how fast a clock goes: up to 2 % wrong.
func rate(r *rand.Rand) float64 { return 0.98 + 0.01*float64(r.IntN(5)) }

func (w *World) addHost(name string, i int) {
	h := &Host{
		Name: name, link: w.newLink(name), random: w.random("host " + name), stops: map[string]bool{},
		underlay: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), fingerprint: name + "-machine",
	}
	h.machine = machine{w: w, rate: rate(w.random("rate " + name))}
	w.Hosts = append(w.Hosts, h)
	w.addNode(h)
	h.switchOn()
}

func (w *World) addNode(h *Host) {
	w.put(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: h.Name},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: h.underlay.String()}}},
	})
}

// switchOn boots it: what the kernel had is gone.
func (h *Host) switchOn() {
	if h.On {
		return
	}
	k, err := datapath.NewFake(datapath.Options{}, netip.PrefixFrom(h.underlay, 24))
	if err != nil {
		panic(err)
	}
	h.On, h.kernel, h.onGone = true, k, nil
	h.start()
	h.startKubelet()
}

func (h *Host) switchOff() {
	if !h.On {
		return
	}
	h.kill()
	h.On = false
	h.kubelet++
	h.thaw()
	for _, p := range h.pods {
		p.sandbox, p.addr = "", netip.Addr{}
	}
	h.machine.w.checks.dirty = true
}

// kill ends the agent.
func (h *Host) kill() {
	if h.agent != nil {
		h.agent.kill()
		h.agent, h.onGone = nil, nil
	}
}

// start starts the agent: the real one, over a kernel that is none.
func (h *Host) start() {
	if h.agent != nil || !h.On {
		return
	}
	w := h.machine.w
	p := w.newProcess(h.Name, &h.machine, h.link)
	a := &agent{process: p, adding: map[string]bool{}}
	store, err := membership.NewStore(access{&h.disk, p})
	if err != nil {
		panic(err) // the disk is never damaged here
	}
	registry := prometheus.NewRegistry()
	metrics, err := membership.NewMetrics(registry)
	if err != nil {
		panic(err)
	}
	book := &ledger{Ledger: addresses.NewLedger(), h: h, p: p}
	a.book = book
	handle := &kernel{h: h, p: p, spared: map[string]bool{}}
	cache := &agentCache{}
	var api client.Client = &apiClient{p: p}
	if w.Mutation == TrustWatches {
		api = &everything{apiClient: &apiClient{p: p}}
	}
	a.membership, err = membership.New(membership.Config{
		Name: h.Name, Namespace: Namespace, Version: "sim", HostName: h.Name, LeaseDuration: w.Lease,
		Store: store, Client: api, Cache: cache, Kernel: handle, Ledger: book,
		Sandboxes: &runtime{h, p}, Clock: w.Mutation.clock(p), Log: slog.New(slog.DiscardHandler), Metrics: metrics,
		Gone:    func(at datapath.Attachment) { a.gone(at) },
		Machine: func() (membership.Fingerprint, error) { return membership.Fingerprint{DMI: h.fingerprint}, nil },
		Jitter:  p.jitter,
		NewID:   func() string { return fmt.Sprintf("%s-%016x", h.Name, p.random.Uint64()) },
	})
	if err != nil {
		panic(err)
	}
	a.cni = cniserver.New(cniserver.Config{Ledger: book.Ledger, Kernel: handle, Families: a.membership.Families})
	h.agent = a
	if err := a.membership.Adopt(p.ctx); err != nil {
		panic(err)
	}
	for _, l := range a.membership.Loops() {
		looper := p.loop(l.Step, l.First, l.News, l.Settle)
		if l.Name == "use" {
			looper.changed = book.touched
		}
	}
	mine := named(h.Name)
	cache.c = p.watch(map[*apiserver.Kind]func(client.Object) bool{
		apiserver.Peers: all, apiserver.Ranges: all, apiserver.Pools: all, apiserver.Removals: mine, apiserver.Nodes: mine,
	}, func(before, after client.Object) {
		if before == nil || after == nil || membership.Matters(h.Name, before, after) {
			a.membership.Kick()
		}
	})
}

// agentCache is the agent's view of what its watches have brought.
type agentCache struct{ c *cache }

// Run is membership.Cache.Run. The world runs it.
func (a *agentCache) Run(context.Context, func()) error { return nil }

// View is membership.Cache.View.
func (a *agentCache) View(context.Context) (membership.View, bool) {
	c := a.c
	if c == nil || !c.complete {
		return membership.View{}, false
	}
	v := membership.View{
		Peers: items[v1alpha1.Peer](c.objects(apiserver.Peers), false), Ranges: items[v1alpha1.AddressRange](c.objects(apiserver.Ranges), false),
		Pools: items[v1alpha1.AddressPool](c.objects(apiserver.Pools), false),
	}
	for _, o := range c.objects(apiserver.Removals) {
		v.Removal = o.(*v1alpha1.PeerRemoval)
	}
	for _, o := range c.objects(apiserver.Nodes) {
		v.Node = o.(*corev1.Node)
	}
	return v, true
}

// unlink takes a pod's interface away, and tells the agent that is there then.
func (h *Host) unlink(sandbox string) {
	at, there, err := h.kernel.Lookup(network, sandbox, "eth0")
	if err != nil || !there {
		return
	}
	if err := h.kernel.Detach(network, sandbox, "eth0"); err != nil {
		panic(err)
	}
	at.Dying = true
	h.machine.w.checks.dirty = true
	if h.onGone != nil {
		h.onGone(at)
	}
}

// stopped are the sandboxes that the agent has asked to be stopped.
func (h *Host) stopped() []string {
	h.stopping.Lock()
	defer h.stopping.Unlock()
	ids := slices.Sorted(maps.Keys(h.stops))
	clear(h.stops)
	return ids
}

// gone hands on that a pod's interface is gone.
func (a *agent) gone(at datapath.Attachment) {
	a.book.moved = true
	a.cni.Gone(at)
}
