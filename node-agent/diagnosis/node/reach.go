// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/selvage-net/selvage/node-agent/diagnosis"
)

const (
	// answerTime is for a peer to answer: one that is lost is asked for again
	// by TCP after 1 s, and after 3 s.
	answerTime = 4 * time.Second
	// mostPeers are asked, chosen at random, and so many at once.
	mostPeers, atOnce = 64, 32
)

// reach tries to reach the peers, through the network and beside it.
func (c *collector) reach(ctx context.Context) error {
	if c.from.Port == 0 {
		return errors.New("the port at which agents answer is not known (--health-probe-bind-address)")
	}
	peers, err := c.peers()
	if err != nil {
		return err
	}
	asked := slices.SortedFunc(maps.Keys(peers), netip.Addr.Compare)
	if len(asked) > mostPeers {
		rand.Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
		asked = asked[:mostPeers]
	}
	c.Reach = make([]diagnosis.Probe, len(asked))
	var all errgroup.Group
	all.SetLimit(atOnce)
	for i, peer := range asked {
		all.Go(func() error {
			began := time.Now()
			p := diagnosis.Probe{Peer: peer, Inside: peers[peer]}
			p.Overlay = c.anyAnswers(ctx, p.Inside)
			p.Underlay = p.Overlay || c.anyAnswers(ctx, []netip.Addr{peer})
			p.Took = time.Since(began)
			c.Reach[i] = p
			return nil
		})
	}
	_ = all.Wait() // none of them fails
	return ctx.Err()
}

// anyAnswers says whether any of the addresses answers. A peer's own is the
// first of one of its ranges; which one, its peers need not know.
func (c *collector) anyAnswers(ctx context.Context, addresses []netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answered := make(chan bool, len(addresses))
	for _, a := range addresses {
		go func() { answered <- answers(ctx, a, c.from.Port) }()
	}
	yes := false
	for range addresses {
		if <-answered {
			yes = true
			cancel() // the others need not be waited for
		}
	}
	return yes
}

// answers says whether anything answers: also a refusal has come all the way
// there and back.
func answers(ctx context.Context, a netip.Addr, port int) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(port)))
	if err == nil {
		_ = conn.Close()
	}
	return err == nil || errors.Is(err, unix.ECONNREFUSED)
}
