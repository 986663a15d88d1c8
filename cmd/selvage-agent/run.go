// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/selvage-net/selvage/node-agent/cniserver"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
)

// signPeriod is how often a living agent says so: well within the time after
// which the plugin takes it for gone.
const signPeriod = 10 * time.Second

// run serves until ctx ends.
func run(ctx context.Context, o *options) error {
	if err := o.validate(); err != nil {
		return err
	}
	log, err := o.logger()
	if err != nil {
		return err
	}
	p, err := o.assemble(log)
	if err != nil {
		return err
	}
	err = p.serve(ctx, o)
	if err == nil {
		log.Info("stopped: pods keep their network")
	}
	return errors.Join(err, p.close())
}

// serve reads what the kernel has, and only then answers anybody.
func (p *parts) serve(ctx context.Context, o *options) error {
	group, ctx := errgroup.WithContext(ctx)
	if err := p.agent.Adopt(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(o.runDir, 0o755); err != nil {
		return fmt.Errorf("making the run directory: %w", err)
	}
	socket, err := cniserver.Listen(filepath.Join(o.runDir, wire.Socket))
	if err != nil {
		return err
	}
	kept := o.installation(p.servesPods, p.log)
	group.Go(func() error { return p.cni.Serve(ctx, socket) })
	group.Go(func() error { return p.serveControl(ctx, filepath.Join(o.runDir, controlSocket), kept) })
	group.Go(func() error { return giveSigns(ctx, filepath.Join(o.runDir, wire.Alive), p.log) })
	group.Go(func() error { return serveHTTP(ctx, o.metrics, p.metricsHandler()) })
	group.Go(func() error { return serveHTTP(ctx, o.health, probes(p.agent.Ready)) })
	group.Go(func() error { return kept.Keep(ctx) })
	group.Go(func() error { return p.agent.Run(ctx) })
	return group.Wait()
}

// giveSigns touches a file for as long as the agent lives.
func giveSigns(ctx context.Context, path string, log *slog.Logger) error {
	tick := time.NewTicker(signPeriod)
	defer tick.Stop()
	for {
		now := time.Now()
		err := os.Chtimes(path, now, now)
		if errors.Is(err, os.ErrNotExist) {
			err = os.WriteFile(path, nil, 0o644)
		}
		if err != nil {
			log.Warn("the CNI plugin may take this agent for gone", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *parts) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	return mux
}

// probes answers the kubelet: it lives, and it is ready or says why not.
func probes(ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// serveHTTP serves at an address until ctx ends; "0" and "" are nowhere.
func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	if address == "" || address == "0" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return serveOn(ctx, listener, handler)
}

func serveOn(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
