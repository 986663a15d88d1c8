// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/node-agent/addresses"
	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/datapath"
	"github.com/selvage-net/selvage/node-agent/membership"
)

// eventTimeout bounds the writing of one Event.
const eventTimeout = 10 * time.Second

// parts are what an agent is wired from.
type parts struct {
	agent     *membership.Agent
	cni       *cniserver.Server
	ledger    *addresses.Ledger
	kernel    *datapath.Kernel
	sandboxes *membership.CRI
	store     *membership.Store
	registry  *prometheus.Registry
	events    record.EventBroadcaster
	// told: whoever asked at the control socket knows that this node remains.
	told atomic.Bool
	log  *slog.Logger
}

// assemble opens the state directory and the kernel. The API server need not
// be there.
func (o *options) assemble(log *slog.Logger) (_ *parts, err error) {
	p := &parts{ledger: addresses.NewLedger(), registry: prometheus.NewRegistry(), log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	config, err := o.restConfig(p.registry)
	if err != nil {
		return nil, err
	}
	scheme, mapper, err := kinds()
	if err != nil {
		return nil, err
	}
	direct, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("preparing to reach the API server: %w", err)
	}
	watches, err := membership.NewWatches(config, scheme, mapper, o.nodeName)
	if err != nil {
		return nil, err
	}
	if p.store, err = membership.OpenStore(o.stateDir); err != nil {
		return nil, err
	}
	p.kernel, err = datapath.Open(datapath.Options{Encapsulation: o.encapsulation, Port: o.vxlanPort, VNI: o.vxlanID, MTU: o.mtu, Sysctls: o.sysctlDir})
	if err != nil {
		return nil, err
	}
	p.sandboxes = membership.NewCRI(o.criSocket)
	metrics, err := membership.NewMetrics(p.registry)
	if err != nil {
		return nil, err
	}
	hostName, _ := os.Hostname()
	p.agent, err = membership.New(membership.Config{
		Name: o.nodeName, Namespace: o.namespace, Version: version, HostName: hostName, LeaseDuration: o.leaseDuration,
		Headroom: o.wanted(), Store: p.store, Client: direct, Cache: watches, Kernel: p.kernel, Ledger: p.ledger,
		Sandboxes: p.sandboxes, Clock: membership.BootClock{}, Machine: membership.ReadFingerprint,
		Recorder: p.recorder(direct, o.nodeName),
		Log:      log, Metrics: metrics, Gone: func(at datapath.Attachment) { p.cni.Gone(at) },
	})
	if err != nil {
		return nil, err
	}
	calls, err := cniserver.NewMetrics(p.registry)
	if err != nil {
		return nil, err
	}
	p.cni = cniserver.New(cniserver.Config{
		Ledger: p.ledger, Kernel: p.kernel, Families: p.agent.Families, Health: p.agent.Health, Log: log, Metrics: calls,
	})
	return p, nil
}

// recorder writes Events in its own time.
func (p *parts) recorder(c client.Client, node string) record.EventRecorder {
	p.events = record.NewBroadcaster()
	p.events.StartRecordingToSink(membership.EventSink(func(e *corev1.Event) error {
		ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
		defer cancel()
		return c.Create(ctx, e)
	}))
	return p.events.NewRecorder(c.Scheme(), corev1.EventSource{Component: "selvage-agent", Host: node})
}

func (o *options) wanted() *int64 {
	if o.headroom < 0 {
		return nil
	}
	return &o.headroom
}

// close lets go of the lock and of handles. The kernel stays as it is.
func (p *parts) close() error {
	var errs []error
	if p.events != nil {
		p.events.Shutdown()
	}
	if p.sandboxes != nil {
		errs = append(errs, p.sandboxes.Close())
	}
	if p.kernel != nil {
		errs = append(errs, p.kernel.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	return errors.Join(errs...)
}

// restConfig counts the requests sent, so that it can be seen that an
// allocation sends none.
func (o *options) restConfig(registry prometheus.Registerer) (*rest.Config, error) {
	connect := rest.InClusterConfig
	if o.kubeconfig != "" {
		connect = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", o.kubeconfig) }
	}
	config, err := connect()
	if err != nil {
		return nil, fmt.Errorf("how to reach the API server: %w (in a pod this is given; elsewhere name a --kubeconfig)", err)
	}
	config.QPS, config.Burst = 20, 50
	config.UserAgent = "selvage-agent/" + version
	count, err := membership.CountRequests(registry)
	if err != nil {
		return nil, err
	}
	config.Wrap(count)
	return config, nil
}

// kinds are those that the agent reads and writes. They are known beforehand,
// so that an agent starts while the API server, or a CRD, is away.
func kinds() (*runtime.Scheme, meta.RESTMapper, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, nil, err
		}
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion, corev1.SchemeGroupVersion, coordinationv1.SchemeGroupVersion})
	for _, kind := range []string{"Peer", "AddressRange", "AddressPool", "PeerRemoval"} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Event"), meta.RESTScopeNamespace)
	mapper.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	return scheme, mapper, nil
}
