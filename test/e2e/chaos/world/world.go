// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/hack/cluster/controlplane"
	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
	"github.com/selvage-net/selvage/test/e2e/chaos/history"
)

// Namespace is where Selvage is installed.
const Namespace = "selvage-system"

// Options say what is made.
type Options struct {
	// Dir is where logs and data go, Bin where Selvage's programs are, and
	// Source is the source tree.
	Dir, Bin, Source string
	// Lease is how long the agents' leases last.
	Lease time.Duration
	// Begin is when the run began: all times count from there.
	Begin time.Time
	Out   io.Writer
}

// World is everything.
type World struct {
	Options
	Plane *controlplane.ControlPlane
	// Servers are the API servers.
	Servers []*controlplane.Component
	// Admin may do everything, by way of whichever API server answers.
	Admin client.Client
	// History is what was seen of addresses.
	History *history.History
	// Machines are in the order of their making.
	Machines []*Machine
	// Controllers are Selvage's.
	Controllers []*Controller
	// Journal is told what happens, for people.
	Journal *Journal

	net      *hosts.Net
	spawner  *processes.Spawner
	backends []netip.AddrPort
	runs     string // short paths, for sockets
	book     book
	janitor  *janitor
	pods     sync.WaitGroup
	closing  []func()
}

// requestTimeout is a person's patience with an API server that hangs.
const requestTimeout = 10 * time.Second

// New boots the control plane, installs Selvage and makes the switch.
func New(ctx context.Context, o Options) (_ *World, err error) {
	w := &World{Options: o, History: &history.History{}}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.Journal, err = newJournal(filepath.Join(o.Dir, "journal.log"), w.Now); err != nil {
		return nil, err
	}
	w.closing = append(w.closing, w.Journal.close)
	if w.runs, err = os.MkdirTemp("", "svc"); err != nil {
		return nil, fmt.Errorf("making a folder for sockets: %w", err)
	}
	w.closing = append(w.closing, func() { _ = os.RemoveAll(w.runs) })
	if w.spawner, err = processes.NewSpawner(); err != nil {
		return nil, err
	}
	w.closing = append(w.closing, w.spawner.Close)
	if err := w.boot(ctx); err != nil {
		return nil, err
	}
	if w.net, err = hosts.New(ctx, "sv", netip.Prefix{}); err != nil {
		return nil, err
	}
	w.closing = append(w.closing, w.net.Close)
	w.janitor = newJanitor(w)
	return w, nil
}

// boot starts etcd and two API servers.
func (w *World) boot(ctx context.Context) error {
	var err error
	w.Plane, err = controlplane.Start(ctx, controlplane.Options{
		Dir: filepath.Join(w.Dir, "controlplane"), Out: w.Out,
		// The chronicle reads etcd itself.
		APIServerArgs: []string{"--storage-media-type=application/json"},
	})
	if err != nil {
		return err
	}
	w.closing = append(w.closing, w.Plane.Stop)
	second, address, err := w.Plane.Replica(ctx)
	if err != nil {
		return err
	}
	w.Servers = []*controlplane.Component{w.Plane.APIServer, second}
	w.backends = []netip.AddrPort{w.Plane.Address, address}
	config := w.Source + "/config/"
	if err := w.Plane.Install(ctx, config+"default", config+"crd-guard"); err != nil {
		return err
	}
	// From here on the administrator, too, takes whichever server answers.
	front, err := w.balance(0)
	if err != nil {
		return err
	}
	w.Plane.Config.Host = "https://" + front.String()
	w.Plane.Config.Timeout = requestTimeout
	w.Admin, err = client.New(rest.CopyConfig(w.Plane.Config), client.Options{Scheme: controllers.Scheme()})
	return err
}

// Now is the time since the beginning of the run.
func (w *World) Now() time.Duration { return time.Since(w.Begin) }

// Machine finds one by its name.
func (w *World) Machine(name string) *Machine {
	for _, m := range w.Machines {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// Close ends everything. Logs stay.
func (w *World) Close() {
	for _, m := range w.Machines {
		m.powerOff()
	}
	for _, c := range w.Controllers {
		c.Stop()
	}
	w.pods.Wait()
	if w.janitor != nil {
		w.janitor.stop()
	}
	for i := len(w.closing) - 1; i >= 0; i-- {
		w.closing[i]()
	}
	w.closing = nil
}

// Persist repeats what a person does who meets an API server that is away. It
// ends with the context, and says what was wrong last.
func Persist(ctx context.Context, do func(context.Context) error) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
