// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/selvage-net/selvage/hack/cluster/hosts"
	"github.com/selvage-net/selvage/test/e2e/chaos/history"
)

// voicePort is where each pod asks, and answers with its own name.
const voicePort = 7000

// voice is what a pod says and hears. Each datagram carries the name of who
// sends it, and when the question was asked; so both ends learn who spoke from
// which address: an answer, and a question, too.
type voice struct {
	pod, host string
	conn      net.PacketConn
	now       func() time.Duration
	hear      func(history.Heard)
}

// speak gives the namespace a voice, until it is closed. It may have no
// interface yet.
func (w *World) speak(space *hosts.Namespace, pod, host string) (*voice, error) {
	conn, err := space.ListenPacket("udp4", fmt.Sprintf(":%d", voicePort))
	if err != nil {
		return nil, err
	}
	v := &voice{pod: pod, host: host, conn: conn, now: w.Now, hear: w.History.Hear}
	go v.listen()
	return v, nil
}

// ask sends a question. Whether there is an answer, the history tells.
func (v *voice) ask(address netip.Addr) {
	text := fmt.Sprintf("ask %s %d", v.pod, v.now())
	_, _ = v.conn.WriteTo([]byte(text), &net.UDPAddr{IP: address.AsSlice(), Port: voicePort})
}

func (v *voice) listen() {
	buffer := make([]byte, 512)
	for {
		size, from, err := v.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		heard := v.now()
		words := strings.Fields(string(buffer[:size]))
		if len(words) != 3 {
			continue
		}
		asked, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil {
			continue
		}
		address := from.(*net.UDPAddr).AddrPort().Addr().Unmap()
		v.hear(history.Heard{Pod: words[1], Address: address, By: v.pod, ByHost: v.host, Span: history.Span{Call: time.Duration(asked), Return: heard}})
		if words[0] == "ask" {
			_, _ = v.conn.WriteTo([]byte("answer "+v.pod+" "+words[2]), from)
		}
	}
}

// book are the addresses that were given out lately.
type book struct {
	mu     sync.Mutex
	latest []netip.Addr
}

const bookSize = 48

func (b *book) note(a netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, known := range b.latest {
		if known == a {
			b.latest = append(append(b.latest[:i:i], b.latest[i+1:]...), a)
			return
		}
	}
	b.latest = append(b.latest, a)
	if len(b.latest) > bookSize {
		b.latest = b.latest[1:]
	}
}

func (b *book) pick(rng func(int) int) (netip.Addr, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.latest) == 0 {
		return netip.Addr{}, false
	}
	return b.latest[rng(len(b.latest))], true
}
