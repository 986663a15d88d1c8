// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// stream sends numbered packets through an echo, one each millisecond or so,
// and counts what does not come back.
type stream struct {
	t    testing.TB
	a    *asker
	stop chan struct{}
	// done tells that the last packet was sent: an answer may take a while on
	// a machine that is busy.
	done chan struct{}
	wg   sync.WaitGroup
	sent uint32
	back map[uint32]bool
}

func (a *asker) stream() *stream {
	a.answered(20)
	s := &stream{t: a.t, a: a, stop: make(chan struct{}), done: make(chan struct{}), back: map[uint32]bool{}}
	s.wg.Add(2)
	go s.send()
	go s.receive()
	return s
}

func (s *stream) send() {
	defer s.wg.Done()
	defer close(s.done)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.sent++
		// A refusal, as by a blackhole, is a packet lost.
		_, _ = s.a.conn.WriteTo(binary.BigEndian.AppendUint32(nil, s.sent), s.a.to)
	}
}

func (s *stream) receive() {
	defer s.wg.Done()
	b := make([]byte, 100)
	silent := 0
	for {
		_ = s.a.conn.SetReadDeadline(time.Now().Add(hush))
		n, _, err := s.a.conn.ReadFrom(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			select {
			case <-s.done:
				if silent++; len(s.back) == int(s.sent) || silent == longHush {
					return
				}
			default:
			}
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil && n == 4:
			s.back[binary.BigEndian.Uint32(b)] = true
		}
	}
}

// longHush is after how many times hush an answer is not coming any more.
const longHush = 50

// end stops it and says what was lost.
func (s *stream) end() {
	s.t.Helper()
	close(s.stop)
	s.wg.Wait()
	var lost []uint32
	for i := uint32(1); i <= s.sent; i++ {
		if !s.back[i] {
			lost = append(lost, i)
		}
	}
	if s.sent < 10 {
		s.t.Errorf("%v: only %d packets were sent: this shows nothing", s.a.to, s.sent)
	}
	if len(lost) > 0 {
		s.t.Errorf("%v: %d of %d packets were lost: %v", s.a.to, len(lost), s.sent, lost[:min(len(lost), 20)])
	}
}

// pause lets streams run for a while.
func pause() { <-time.After(50 * time.Millisecond) }

// TestNothingIsLost: while agents restart, peers come and go, ranges shrink and
// change hands and pods come and go, packets between pods that stay are not lost.
func TestNothingIsLost(t *testing.T) {
	for _, mode := range []string{VXLAN, Auto} {
		t.Run(mode, func(t *testing.T) { testNothingIsLost(t, mode) })
	}
}

func testNothingIsLost(t *testing.T, mode string) {
	l := newLab(t, 3, families{"", "46", "46"}, Options{Encapsulation: mode})
	one, two, three := l.hosts[0], l.hosts[1], l.hosts[2]
	from, near, far := one.pod(1), one.pod(2), two.pod(1)
	one.echo(one.hostAddrs[0])
	var streams []*stream
	for i := range from.addrs {
		streams = append(streams, from.ask(from.addrs[i], near.addrs[i]).stream(), from.ask(from.addrs[i], far.addrs[i]).stream())
		streams = append(streams, one.ask(netip.Addr{}, far.addrs[i]).stream(), two.ask(netip.Addr{}, from.addrs[i]).stream())
	}
	pause()
	for range 3 { // a rolling upgrade
		for _, h := range l.hosts {
			_ = h.k.Close()
			pause()
			h.k = open(t, h.namespace, h.opts)
			h.set(l.hosts...)
		}
	}
	for range 3 { // a peer is removed, another inherits, it comes back
		had := three.ranges
		two.ranges, three.ranges = append(two.ranges, had...), nil
		one.set(one, two)
		two.set(one, two)
		pause()
		two.ranges, three.ranges = two.ranges[:2], had
		l.set(l.hosts...)
		pause()
	}
	// Ranges shrink to the part that is in use; then are whole again.
	whole := slices.Clone(two.ranges)
	two.ranges = prefixes("10.32.2.0/28", "fd10:0:0:2::/120")
	l.set(l.hosts...)
	pause()
	two.ranges = whole
	l.set(l.hosts...)
	for i := range 10 {
		p := one.pod(10 + i)
		if err := one.k.Detach("selvage", p.req.Sandbox, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	pause()
	for _, s := range streams {
		s.end()
	}
}

// TestSetRepairs: what other programs take away or change comes back.
func TestSetRepairs(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	one := l.hosts[0]
	in, far := one.pod(1), l.hosts[1].pod(1)
	read := func() string { return readState(t, one) }
	one.set(l.hosts...)
	want := read()
	for _, line := range []string{
		"true",
		"ip route flush proto 115",
		"ip -6 route flush proto 115",
		"ip link del selvage0",
		"ip link set selvage0 down",
		"ip link set selvage0 mtu 1300",
		"ip link set selvage0 address 02:00:00:00:00:99",
		"ip neigh flush dev selvage0 nud permanent",
		"bridge fdb add 5a:5e:c0:a8:4d:99 dev selvage0 dst 192.168.77.9",
		"bridge fdb append 5a:5e:c0:a8:4d:02 dev selvage0 dst 192.168.77.9",
		"ip addr flush dev selvage0",
		"ip route replace 10.32.2.0/24 via 192.168.77.9 dev eth0 proto 115",
		"ip route add blackhole 10.99.0.0/16 proto 115",
		"ip addr del 192.168.77.1/24 dev eth0", // takes the routes that name it with it
	} {
		_, _ = try("ip netns exec " + one.name + " " + line)
		if strings.Contains(line, "192.168.77.1/24") {
			one.run("ip addr add 192.168.77.1/24 dev eth0")
		}
		one.set(l.hosts...)
		if got := read(); got != want {
			t.Errorf("after %q:\n%s\nwant\n%s", line, got, want)
		}
		for i := range in.addrs {
			in.ask(in.addrs[i], far.addrs[i]).answered(20)
		}
	}
	for name, spoil := range map[string]func(n *nft){
		"table deleted": func(n *nft) { n.conn.DelTable(n.table) },
		"set flushed":   func(n *nft) { n.conn.FlushSet(setOf(n.table, peersSet, false)) },
		"chain flushed": func(n *nft) { n.conn.FlushChain(chainOf(n.table, chainSource)) },
		"chain deleted": func(n *nft) {
			n.conn.FlushChain(chainOf(n.table, chainReceive))
			n.conn.DelChain(chainOf(n.table, chainReceive))
		},
	} {
		n, err := one.k.nft(one.k.options())
		if err != nil {
			t.Fatal(err)
		}
		spoil(n)
		if err := n.conn.Flush(); err != nil {
			t.Fatal(err)
		}
		one.set(l.hosts...)
		if got := read(); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// readState is what the kernel holds of ours, as text.
func readState(t testing.TB, h *host) (text string) {
	t.Helper()
	err := h.k.do(func(w *worker) error {
		r, err := h.k.read(w.host, h.k.options())
		if err == nil {
			text = r.state.String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestForeignThingsStay: what Selvage did not make it does not touch.
func TestForeignThingsStay(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	one := l.hosts[0]
	foreign := []string{
		"ip link add svforeign type veth peer name other",
		"ip link set svforeign up", "ip link set other up",
		"ip addr add 172.31.0.1/24 dev svforeign",
		"ip route add 10.32.99.0/24 via 192.168.77.9 dev eth0",
		"ip route add blackhole 10.32.98.0/24 metric 16777216",
		"ip -6 route add fd10:99::/64 via fd77::9 dev eth0",
		"ip neigh add 192.168.77.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
		"ip link add vxlan7 type vxlan id 7 dstport 4789 local 192.168.77.1",
	}
	for _, line := range foreign {
		one.run(line)
	}
	n, err := one.k.nft(one.k.options())
	if err != nil {
		t.Fatal(err)
	}
	table := *n.table
	table.Name = "foreign"
	n.conn.AddTable(&table)
	if err := n.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	see := func() string {
		return one.run("ip -o link show dev svforeign") + one.run("ip -o link show dev vxlan7") + one.run("ip -o addr show dev svforeign") +
			one.run("ip route show 10.32.99.0/24") + one.run("ip route show 10.32.98.0/24") + one.run("ip -6 route show fd10:99::/64") + one.run("ip neigh show 192.168.77.9")
	}
	before := see()
	one.set(one)
	p := one.pod(1)
	if err := one.k.Detach("selvage", p.req.Sandbox, "eth0"); err != nil {
		t.Fatal(err)
	}
	one.k = open(t, one.namespace, one.opts)
	one.set(l.hosts...)
	if after := see(); after != before {
		t.Errorf("there was\n%s\nand now is\n%s", before, after)
	}
	tables, err := n.conn.ListTables()
	if err != nil || !slices.ContainsFunc(tables, func(x *nftablesTable) bool { return x.Name == "foreign" }) {
		t.Errorf("the foreign table is gone: %v", err)
	}

	// A foreign route just where ours would be is an error, and stays.
	one.run("ip route add 10.32.77.0/24 via 192.168.77.9 dev eth0")
	l.hosts[1].ranges = append(l.hosts[1].ranges, prefixes("10.32.77.0/24", "10.32.78.0/24")...)
	err = one.k.Set(one.desired(l.hosts...))
	if err == nil || !strings.Contains(err.Error(), "another program's route to 10.32.77.0/24") {
		t.Errorf("Set: %v", err)
	}
	if got := one.run("ip route show 10.32.77.0/24") + one.run("ip route show 10.32.78.0/24"); !strings.Contains(got, "via 192.168.77.9") || !strings.Contains(got, "via 192.168.77.2 dev selvage0") {
		t.Errorf("routes are %s", got)
	}
}
