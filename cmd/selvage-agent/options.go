// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/node-agent/datapath"
)

// options are the flags.
type options struct {
	nodeName, kubeconfig, namespace string
	stateDir, runDir, criSocket     string
	leaseDuration                   time.Duration
	headroom                        int64
	encapsulation, sysctlDir        string
	vxlanPort, vxlanID, mtu         int
	logFormat                       string
	verbose                         bool

	metrics, health       string
	binDir, confDir       string
	plugin, configuration string
}

func defaults() *options {
	self, _ := os.Executable()
	return &options{
		nodeName: os.Getenv("NODE_NAME"), kubeconfig: os.Getenv("KUBECONFIG"),
		namespace: cmp.Or(os.Getenv("POD_NAMESPACE"), "selvage-system"),
		stateDir:  cmp.Or(os.Getenv("SELVAGE_STATE_DIR"), "/var/lib/selvage"),
		runDir:    cmp.Or(os.Getenv(wire.RunDirEnv), wire.DefaultRunDir), leaseDuration: time.Minute, headroom: -1,
		encapsulation: datapath.VXLAN, vxlanPort: datapath.DefaultOptions().Port, vxlanID: datapath.DefaultOptions().VNI,
		sysctlDir: datapath.DefaultOptions().Sysctls,
		logFormat: "text", metrics: "0", health: "0", plugin: filepath.Join(filepath.Dir(self), "selvage"),
	}
}

func (o *options) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.nodeName, "node-name", o.nodeName, "the Node this runs on, and the peer's name (env NODE_NAME)")
	f.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "how to reach the API server (env KUBECONFIG); empty: as a pod does")
	f.StringVar(&o.namespace, "namespace", o.namespace, "where Selvage is installed, and the Leases are (env POD_NAMESPACE)")
	f.StringVar(&o.stateDir, "state-dir", o.stateDir, "where this machine's identity is kept; must survive a reboot (env SELVAGE_STATE_DIR)")
	f.StringVar(&o.runDir, "run-dir", o.runDir, "where the sockets are; a tmpfs (env SELVAGE_RUN_DIR, for the CNI plugin too)")
	f.StringVar(&o.criSocket, "cri-socket", o.criSocket, "the container runtime's socket, to stop stale pods through; empty: the first well-known one that exists")
	f.DurationVar(&o.leaseDuration, "lease-duration", o.leaseDuration,
		"for how long this node may allocate without the API server; longer rides out longer outages, shorter lets others take over sooner")
	f.Int64Var(&o.headroom, "headroom", o.headroom, "how many addresses are to be free in each pool; below that another range is granted "+
		"(-1: a quarter of the first range, at most 256)")
	f.StringVar(&o.encapsulation, "encapsulation", o.encapsulation, "vxlan, direct (nodes share a subnet) or auto (direct where they do)")
	f.IntVar(&o.vxlanPort, "vxlan-port", o.vxlanPort, "the UDP port of the tunnels; the same on every node")
	f.IntVar(&o.vxlanID, "vxlan-id", o.vxlanID, "the VXLAN network identifier; the same on every node")
	f.IntVar(&o.mtu, "mtu", o.mtu, "that of the pods' interfaces; 0: the underlay's, less what encapsulation takes")
	f.StringVar(&o.sysctlDir, "sysctl-dir", o.sysctlDir, "where this host's /proc/sys/net can be written, to turn forwarding on where it is off")
	f.StringVar(&o.logFormat, "log-format", o.logFormat, "text or json")
	f.BoolVarP(&o.verbose, "verbose", "v", o.verbose, "log more")
}

func (o *options) addServingTo(f *pflag.FlagSet) {
	f.StringVar(&o.metrics, "metrics-bind-address", o.metrics, "where Prometheus' metrics are served, such as :9783; 0: nowhere")
	f.StringVar(&o.health, "health-probe-bind-address", o.health, "where /healthz and /readyz are served, such as :9784; 0: nowhere")
	f.StringVar(&o.binDir, "cni-bin-dir", o.binDir, "install the CNI plugin there, once this node can serve it; empty: do not")
	f.StringVar(&o.confDir, "cni-conf-dir", o.confDir, "install the CNI configuration there, once this node can serve it; empty: do not")
	f.StringVar(&o.plugin, "cni-plugin", o.plugin, "the plugin to install")
	f.StringVar(&o.configuration, "cni-conflist", o.configuration, "the configuration to install; empty: a plain one")
}

func (o *options) validate() error {
	if o.nodeName == "" {
		return errors.New("which node is this? Set --node-name or NODE_NAME to the name that the kubelet registered")
	}
	if o.leaseDuration < 3*time.Second || o.leaseDuration%time.Second != 0 {
		return fmt.Errorf("--lease-duration=%s: must be whole seconds, and at least 3s", o.leaseDuration)
	}
	if o.headroom < -1 {
		return fmt.Errorf("--headroom=%d: must be a number of addresses, or -1 for the default", o.headroom)
	}
	return nil
}

// logger logs to standard error, and has the libraries do so too.
func (o *options) logger() (*slog.Logger, error) {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	var handler slog.Handler
	switch o.logFormat {
	case "text":
		handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	case "json":
		handler = slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	default:
		return nil, fmt.Errorf("--log-format=%s: must be text or json", o.logFormat)
	}
	sink := logr.FromSlogHandler(handler)
	klog.SetLogger(sink)
	log.SetLogger(sink)
	return slog.New(handler), nil
}
