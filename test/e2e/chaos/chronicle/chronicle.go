// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chronicle reads every change of a cluster out of etcd, in the order
// in which etcd made them, and judges each. It asks no API server: those may be
// dead, cut off or stale, and what they say is not to be trusted here.
package chronicle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// prefix is where an API server keeps its objects.
const prefix = "/registry/"

// probeInterval is how closely a revision is put between two times.
const probeInterval = 100 * time.Millisecond

// Chronicle follows an etcd whose API server stores JSON
// (--storage-media-type=application/json).
type Chronicle struct {
	client *clientv3.Client
	// clock is what times are told by, since the beginning of the run.
	clock   func() time.Duration
	archive *Archive

	mu       sync.Mutex
	probes   []probe
	state    *state
	tallies  Tallies
	findings []Finding
	changed  chan struct{}
}

// probe is one consistent read: somewhere between asked and answered, the
// latest revision was this one.
type probe struct {
	asked, answered time.Duration
	revision        int64
}

// Finding is a broken invariant, and when.
type Finding struct {
	Revision int64
	At       time.Duration
	Message  string
}

func (f Finding) String() string {
	return fmt.Sprintf("revision %d, at %s: %s", f.Revision, f.At.Round(time.Millisecond), f.Message)
}

// Open connects to etcd and reads what there is.
func Open(ctx context.Context, endpoint, namespace string, clock func() time.Duration, archive *Archive) (*Chronicle, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: time.Minute, Logger: zap.NewNop(), Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("connecting to etcd: %w", err)
	}
	return &Chronicle{client: client, clock: clock, archive: archive, state: newState(namespace), changed: make(chan struct{})}, nil
}

// Follow reads until ctx ends. A gap in the history is an error.
func (c *Chronicle) Follow(ctx context.Context) error {
	defer c.client.Close()
	begin, err := c.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("reading etcd: %w", err)
	}
	c.mu.Lock()
	for _, kv := range begin.Kvs {
		err = errors.Join(err, c.state.apply(string(kv.Key), kv.Value, kv.ModRevision))
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { defer close(done); c.probe(ctx) }()
	defer func() { <-done }()
	for answer := range c.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(begin.Header.Revision+1)) {
		if err := answer.Err(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("the chronicle has a gap: %w", err)
		}
		if err := c.take(answer.Events); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return errors.New("the chronicle has a gap: etcd has ended the watch")
	}
	return nil
}

// take applies what one answer brings, revision by revision.
func (c *Chronicle) take(events []*clientv3.Event) error {
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range events {
		if err := c.archive.change(e, now); err != nil {
			return err
		}
		var value []byte
		if e.Type == clientv3.EventTypePut {
			value = e.Kv.Value
		}
		if err := c.state.apply(string(e.Kv.Key), value, e.Kv.ModRevision); err != nil {
			return err
		}
		if i+1 == len(events) || events[i+1].Kv.ModRevision != e.Kv.ModRevision {
			c.judge(e.Kv.ModRevision, now)
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// probe pins revisions to times. While etcd is away there is nothing to pin.
func (c *Chronicle) probe(ctx context.Context) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := c.clock()
		answer, err := c.client.Get(ctx, prefix, clientv3.WithCountOnly(), clientv3.WithLimit(1))
		if err != nil {
			continue
		}
		p := probe{asked, c.clock(), answer.Header.Revision}
		c.mu.Lock()
		c.probes = append(c.probes, p)
		c.mu.Unlock()
	}
}

// Await waits until the condition holds of what etcd has, which it may look at
// only while it is called.
func (c *Chronicle) Await(ctx context.Context, condition func(View) bool) error {
	for {
		c.mu.Lock()
		ok, changed := condition(View{c.state}), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Look shows what etcd has, for as long as the call lasts.
func (c *Chronicle) Look(look func(View)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	look(View{c.state})
}

// Settle waits until everything is read that etcd has now.
func (c *Chronicle) Settle(ctx context.Context) error {
	latest, err := c.client.Get(ctx, prefix, append(clientv3.WithLastRev(), clientv3.WithPrefix(), clientv3.WithKeysOnly())...)
	if err != nil {
		return fmt.Errorf("reading etcd: %w", err)
	}
	if len(latest.Kvs) == 0 {
		return nil
	}
	return c.Await(ctx, func(v View) bool { return v.s.revision >= latest.Kvs[0].ModRevision })
}

// Findings are the broken invariants so far.
func (c *Chronicle) Findings() []Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Finding(nil), c.findings...)
}
