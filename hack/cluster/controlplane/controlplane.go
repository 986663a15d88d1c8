// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
)

// Options say what to boot.
type Options struct {
	// Dir is where data, certificates and logs go; it is kept. Empty: a
	// temporary folder that Stop removes.
	Dir string
	// Listen is the API server's address, by default 127.0.0.1.
	Listen netip.Addr
	// Switch, if given, is where the programs run: in the namespace of these
	// hosts' switch, at its address, so that API server and hosts reach each
	// other and nothing else does. Clients outside use Published.
	Switch *hosts.Net
	// Nodes makes it a control plane that kubelets can join.
	Nodes *Nodes
	// ServeAlso are further addresses that clients know the API server by
	// (a load balancer's, a forwarder's): they go into its certificate.
	ServeAlso []netip.Addr
	// ControllerManager also starts kube-controller-manager, with these
	// controllers alone, such as garbage-collector-controller; empty: all.
	ControllerManager bool
	Controllers       []string
	// FeatureGates and RuntimeConfig go to the API server (and the gates to
	// the controller manager): StorageVersionMigrator=true, api/beta=true.
	FeatureGates  map[string]bool
	RuntimeConfig []string
	// APIServerArgs are appended to the API server's arguments.
	APIServerArgs []string
	// Out is told what takes long, such as building.
	Out io.Writer
}

// ControlPlane is a running etcd and kube-apiserver, of which each can be
// stopped and started by itself.
type ControlPlane struct {
	// Config is an administrator's, without client-side rate limits.
	Config *rest.Config
	// Kubeconfig is the path of the same as a file.
	Kubeconfig string
	// Kubectl is the path of the program.
	Kubectl string
	// Dir holds data, certificates and logs.
	Dir string
	// Address is where the API server listens.
	Address netip.AddrPort
	// Published is where clients in our own namespace reach it: Address, or on
	// the loopback what leads to the switch.
	Published netip.AddrPort

	Etcd, APIServer *Component
	// ControllerManager and Scheduler are nil unless asked for.
	ControllerManager, Scheduler *Component

	options   Options
	paths     Paths
	nodePaths NodePaths
	pki       *pki
	spawner   *processes.Spawner
	temporary bool
	etcdURL   string
	replicas  []*Component
}

// startAttempts bounds how often free ports that were taken by somebody else
// before we could use them are replaced by others.
const startAttempts = 5

// Start boots a control plane and returns once /readyz says ok.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	if options.Out == nil {
		options.Out = io.Discard
	}
	if options.Switch != nil {
		options.Listen = options.Switch.Address
		if options.Nodes != nil && options.Nodes.ServiceRanges[0].Addr().Is6() {
			options.Listen = options.Switch.Address6 // it is advertised as a Service's endpoint
		}
	}
	if options.Nodes != nil {
		options.ControllerManager = true
		options.ServeAlso = append(options.ServeAlso, options.Nodes.serviceAddresses()...)
	}
	if !options.Listen.IsValid() {
		options.Listen = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	paths, err := Binaries(ctx, options.Out)
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{Kubectl: paths.Kubectl, options: options, paths: paths}
	if options.Nodes != nil {
		if cp.nodePaths, err = NodeBinaries(ctx, options.Out); err != nil {
			return nil, err
		}
	}
	if err := cp.prepare(); err != nil {
		cp.Stop()
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		err = cp.boot(ctx)
		if err == nil {
			return cp, nil
		}
		if attempt == startAttempts || !strings.Contains(err.Error(), "address already in use") {
			break
		}
		cp.stopComponents()
	}
	if !cp.temporary {
		cp.Stop()
		return nil, err
	}
	// What a failed start wrote is the only explanation there is.
	cp.temporary = false
	cp.Stop()
	return nil, fmt.Errorf("%w\n(logs are kept in %s)", err, cp.Dir)
}

func (cp *ControlPlane) prepare() error {
	if err := cp.makeDir(); err != nil {
		return err
	}
	if err := cp.makeSpawner(); err != nil {
		return err
	}
	var err error
	if cp.pki, err = newPKI(filepath.Join(cp.Dir, "pki")); err != nil {
		return err
	}
	return cp.makeCertificates()
}

// makeSpawner starts the thread that everything runs on.
func (cp *ControlPlane) makeSpawner() (err error) {
	if cp.options.Switch == nil {
		cp.spawner, err = processes.NewSpawner()
		return err
	}
	space, err := os.Open(cp.options.Switch.Space().NetNS)
	if err != nil {
		return fmt.Errorf("opening the switch's namespace: %w", err)
	}
	defer space.Close()
	cp.spawner, err = processes.NewSpawner(processes.EnterNet(space))
	return err
}

func (cp *ControlPlane) makeDir() error {
	cp.Dir = cp.options.Dir
	if cp.Dir == "" {
		dir, err := os.MkdirTemp("", "selvage-controlplane-")
		if err != nil {
			return fmt.Errorf("making a folder for the control plane: %w", err)
		}
		cp.Dir, cp.temporary = dir, true
	}
	dir, err := filepath.Abs(cp.Dir)
	if err != nil {
		return fmt.Errorf("the control plane's folder: %w", err)
	}
	cp.Dir = dir
	// Data of an earlier run has other certificates and keys.
	if err := os.RemoveAll(filepath.Join(cp.Dir, "etcd")); err != nil {
		return fmt.Errorf("removing an earlier run's data: %w", err)
	}
	if err := os.MkdirAll(cp.Dir, 0o755); err != nil {
		return fmt.Errorf("making the control plane's folder: %w", err)
	}
	return nil
}

func (cp *ControlPlane) boot(ctx context.Context) error {
	ports, err := cp.freePorts(cp.options.Listen, 5)
	if err != nil {
		return err
	}
	cp.Address = netip.AddrPortFrom(cp.options.Listen, ports[0])
	if err := cp.publish(); err != nil {
		return err
	}
	if err := cp.writeAdmin(); err != nil {
		return err
	}
	cp.Etcd = cp.etcd(ports[1], ports[2])
	cp.APIServer = cp.apiServer()
	start := []*Component{cp.Etcd, cp.APIServer}
	if cp.options.ControllerManager {
		cp.ControllerManager = cp.controllerManager(ports[3])
		start = append(start, cp.ControllerManager)
	}
	if cp.options.Nodes != nil {
		cp.Scheduler = cp.scheduler(ports[4])
		start = append(start, cp.Scheduler)
	}
	for _, c := range start {
		if err := c.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (cp *ControlPlane) publish() error {
	cp.Published = cp.Address
	if cp.options.Switch == nil {
		return nil
	}
	forward, err := cp.options.Switch.Publish(cp.Address)
	if err != nil {
		return err
	}
	cp.Published = forward.Address
	return nil
}

// stopGrace is how long each program may take to end by itself.
const stopGrace = 10 * time.Second

func (cp *ControlPlane) stopComponents() {
	for _, c := range append(cp.replicas, cp.Scheduler, cp.ControllerManager, cp.APIServer, cp.Etcd) {
		if c != nil {
			c.Stop()
		}
	}
}

// Stop ends everything. A folder that the caller chose is kept, without the
// data.
func (cp *ControlPlane) Stop() {
	cp.stopComponents()
	if cp.spawner != nil {
		cp.spawner.Close()
	}
	remove := []string{"etcd"}
	if cp.temporary {
		remove = []string{"."}
	}
	for _, name := range remove {
		if err := os.RemoveAll(filepath.Join(cp.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(cp.options.Out, "removing the control plane's data: %v\n", err)
		}
	}
}
