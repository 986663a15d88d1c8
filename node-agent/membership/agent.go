// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// Kernel is what membership needs of the datapath.
type Kernel interface {
	Watch(ctx context.Context, onGone func(datapath.Attachment)) ([]datapath.Attachment, error)
	Dump() ([]datapath.Attachment, error)
	CutOff(a datapath.Attachment, down bool) error
	Underlay(nodeAddrs []netip.Addr) (addrs []netip.Addr, mac string, err error)
	Set(d datapath.Desired) error
}

// Ledger is what membership needs of the local allocation.
type Ledger interface {
	SetRanges(ranges []addresses.Range)
	SetGate(gate func() error)
	Hold(k addresses.Key, addrs []netip.Addr)
	Lookup(k addresses.Key) []netip.Addr
	Keys() []addresses.Key
	Used(name string) int64
	Idle(p netip.Prefix) bool
	Pools() map[string]addresses.PoolUse
}

// Cache is a view of the API that is kept up to date by watching it.
type Cache interface {
	// Run watches until ctx ends and calls changed whenever something that
	// counts has changed.
	Run(ctx context.Context, changed func()) error
	// View is the view, once it is complete. What it shares is not changed.
	View(ctx context.Context) (View, bool)
}

// Config is what an Agent is made of.
type Config struct {
	// Name is the node's, and the peer's. Namespace is Selvage's.
	Name, Namespace string
	// Version and HostName are for people.
	Version, HostName string
	LeaseDuration     time.Duration
	// Headroom is the number of addresses wanted free in each pool; nil: the
	// controller's default.
	Headroom *int64

	Store     *Store
	Client    client.Client // does not cache
	Cache     Cache
	Kernel    Kernel
	Ledger    Ledger
	Sandboxes Sandboxes
	Clock     Clock
	// Gone is told of each pod's end, and is to free what it held. The news may
	// be late: the same attachment may have been made anew since, and hold its
	// address again. So whoever frees it looks, and does so while nobody can
	// make it anew: as cniserver.Server.Gone does.
	Gone func(datapath.Attachment)
	// Machine reads the fingerprint.
	Machine func() (Fingerprint, error)
	Log     *slog.Logger
	Metrics *Metrics
	// Recorder raises Events, and does not wait until they are written; nil:
	// only those are raised that evictions bring.
	Recorder record.EventRecorder
	// Jitter is a random time below d; nil: rand.N. NewID mints what nobody
	// else has; nil: a random UUID. A simulation, which has to be repeated
	// exactly, brings its own.
	Jitter func(d time.Duration) time.Duration
	NewID  func() string
}

// Agent is a node's membership: one loop looks, decides and acts, another renews
// the Lease.
type Agent struct {
	Config
	lease *Lease

	kicked chan struct{}
	renew  chan struct{}
	// mustLook asks the loop for a consistent view.
	mustLook atomic.Bool
	stance   atomic.Pointer[stance]
	leader   atomic.Pointer[string]
	leaving  atomic.Pointer[leaving]
	wishes   wishes
	staying  atomic.Bool

	// What follows is the loop's own.
	row      Row
	seen     bool
	machine  Fingerprint
	world    *world
	pools    []netip.Prefix
	underlay []netip.Addr
	vtep     string
	nodeUID  string
	// term is what the Lease says, or is to say.
	term    string
	set     datapath.Desired
	setAt   time.Duration
	problem string
	// lookedAt is when a consistent view was taken last.
	lookedAt time.Duration
	// failing and rounds count failures, and rounds asked for at once.
	failing, rounds int
	// due is when something is to be told that may wait; 0: nothing.
	due    time.Duration
	waited string
	// announced is the reason of the last Event about a stance.
	announced string
	// unlinked: a former row may have cut pods off.
	unlinked bool
	// quiet is when the kernel has forgotten what pods sent before they were
	// cut off.
	quiet time.Duration
	told  told
	// eager: a pod's end is news, since something waits for it.
	eager atomic.Bool
	// evictions are sandboxes that the container runtime is to stop.
	evictions evictions
	// nodeID is nodeUID, for others than the loop.
	nodeID atomic.Value
	// families are those of the pools that this node draws from.
	families atomic.Uint32
}

// Families are those in which each new pod must get an address: a dual-stack
// node that still waits for a range of one starts no pod with half of what it
// shall have.
func (a *Agent) Families() addresses.Families { return addresses.Families(a.families.Load()) }

// stance is what the rest of the agent sees of the loop.
type stance struct {
	row Row
	// refuse is why nothing is allocated, apart from the Lease; nil: it may be.
	refuse error
	// unhealthy is why STATUS fails; nil: it does not.
	unhealthy error
	// waiting says what is being waited for, and what would end it.
	waiting string
	peerUID string
	// removal is why this peer is being removed, while that can be cancelled.
	removal string
	left    bool
}

// errUnseen is the gate's answer before the API was seen.
var errUnseen = errors.New("the API server has not been seen since this agent started: nothing is allocated before it is, pods that run keep their network")

// New returns an agent that has not begun. The gate of the ledger is closed
// from here on, until the agent opens it.
func New(cfg Config) (*Agent, error) {
	if cfg.LeaseDuration < 3*time.Second || cfg.LeaseDuration%time.Second != 0 {
		return nil, fmt.Errorf("lease duration %s: must be whole seconds, and at least three", cfg.LeaseDuration)
	}
	if cfg.Gone == nil {
		return nil, errors.New("nobody is told of a pod's end: no address would ever be free again")
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.N[time.Duration]
	}
	if cfg.NewID == nil {
		cfg.NewID = uuid.NewString
	}
	a := &Agent{
		evictions: newEvictions(), Config: cfg, kicked: make(chan struct{}, 1), renew: make(chan struct{}, 1), told: newTold(),
		lease: NewLease(cfg.Client, cfg.Clock, cfg.Namespace, cfg.Name, cfg.NewID(), cfg.LeaseDuration),
	}
	first := stance{row: Unreachable, refuse: errUnseen, waiting: "the API server"}
	if record := cfg.Store.Record(); !record.Joined() || record.IsFenced(record.PeerUID) {
		first.unhealthy = errors.New("this node has not joined the network, and the API server has not been seen yet")
	}
	a.stance.Store(&first)
	if cfg.Store.Record().Joined() {
		a.hush() // a former run may have cut pods off a moment ago
	}
	cfg.Ledger.SetGate(a.permit)
	return a, nil
}

// permit is the gate: asked before each allocation, and again before the
// answer goes out.
func (a *Agent) permit() error {
	if err := a.stance.Load().refuse; err != nil {
		return err
	}
	return a.lease.Valid()
}

// Health is nil while the container runtime may be told that the network is
// there: unless this node never joined, or is out.
func (a *Agent) Health() error { return a.stance.Load().unhealthy }

// Ready is nil while this agent may allocate.
func (a *Agent) Ready() error { return a.permit() }

// Adopt rebuilds what is in use from the kernel: it subscribes, then dumps. It
// comes before anybody is served.
func (a *Agent) Adopt(ctx context.Context) error {
	// A pod that goes while the others are being read in must not be held
	// afterwards.
	seeded := make(chan struct{})
	attachments, err := a.Kernel.Watch(ctx, func(gone datapath.Attachment) {
		<-seeded
		a.Gone(gone)
		if a.eager.Load() {
			a.Kick()
		}
	})
	if err != nil {
		return fmt.Errorf("reading the pods' interfaces: %w", err)
	}
	for _, at := range attachments {
		if !at.Dying {
			a.Ledger.Hold(keyOf(at), at.Addresses)
		}
	}
	close(seeded)
	if len(attachments) > 0 {
		a.hush()
	}
	a.Log.Info("found the pods of before", "interfaces", len(attachments))
	return nil
}

func keyOf(a datapath.Attachment) addresses.Key {
	return addresses.Key{Network: a.Network, Sandbox: a.Sandbox, IfName: a.IfName}
}

// Kick has the membership loop go round soon: there may be news.
func (a *Agent) Kick() {
	select {
	case a.kicked <- struct{}{}:
	default:
	}
}

// lookSoon has the loop go round soon with a consistent view.
func (a *Agent) lookSoon() {
	a.mustLook.Store(true)
	a.Kick()
}
