// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/hack/cluster/processes"
	"github.com/selvage-net/selvage/node-agent/cniserver/wire"
	"github.com/selvage-net/selvage/test/standalone"
)

// stage is a host with an agent, and pods' network namespaces that all rounds
// use: to make and remove them would disturb what is measured.
type stage struct {
	dir     string
	network *hosts.Net
	host    *hosts.Host
	spawner *processes.Spawner
	agent   *processes.Process
	pods    []*os.File
	workers []*worker
}

func newStage(ctx context.Context, o options) (*stage, error) {
	s := &stage{}
	err := s.open(ctx, o)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) open(ctx context.Context, o options) (err error) {
	if s.dir, err = os.MkdirTemp("", "selvage-bench-"); err != nil {
		return err
	}
	if s.network, err = hosts.New(ctx, "svb", netip.Prefix{}); err != nil {
		return err
	}
	if s.host, err = s.network.Host("bench"); err != nil {
		return err
	}
	if s.spawner, err = processes.NewSpawner(); err != nil {
		return err
	}
	for range o.pods {
		pod, err := processes.NewNet()
		if err != nil {
			return err
		}
		s.pods = append(s.pods, pod)
	}
	for range o.workers {
		w, err := newWorker(s.host.NetNS)
		if err != nil {
			return err
		}
		s.workers = append(s.workers, w)
	}
	return s.startAgent(ctx)
}

func (s *stage) startAgent(ctx context.Context) error {
	cmd, err := standalone.Command(ctx, standalone.Options{
		RunDir: s.dir, NetNS: s.host.NetNS, Node: []netip.Addr{s.host.Address}, Ranges: []netip.Prefix{netip.MustParsePrefix("10.32.0.0/20")}})
	if err != nil {
		return err
	}
	log := filepath.Join(s.dir, "agent.log")
	if s.agent, err = processes.StartProcess(s.spawner, "agent", log, cmd); err != nil {
		return err
	}
	return until(ctx, "the agent listens", func() error {
		if !s.agent.Running() {
			return s.agent.Failure()
		}
		conn, err := net.Dial("unix", filepath.Join(s.dir, wire.Socket))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// until waits for something to be so.
func until(ctx context.Context, what string, is func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := is()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting until %s: %w", what, ctx.Err()), err)
		case <-tick.C:
		}
	}
}

func (s *stage) close() {
	for _, w := range s.workers {
		w.close()
	}
	if s.agent != nil {
		s.agent.Kill()
	}
	if s.spawner != nil {
		s.spawner.Close()
	}
	for _, p := range s.pods {
		_ = p.Close()
	}
	if s.network != nil {
		s.network.Close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}
