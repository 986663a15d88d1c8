// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Reply is one answer to a question, or one message heard.
type Reply struct {
	From netip.Addr
	Text string
}

// AnswerWithName answers each datagram that comes to the UDP port, over both
// families, with the namespace's name: so that a caller knows who answered.
func (n *Namespace) AnswerWithName(port uint16) error {
	conn, err := n.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 2048)
		for {
			_, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteTo([]byte(n.Name), from)
			}
		}
	}()
	return nil
}

// Ask sends a datagram and waits for one answer.
func (n *Namespace) Ask(ctx context.Context, to netip.AddrPort, wait time.Duration) (Reply, error) {
	if err := ctx.Err(); err != nil {
		return Reply{}, err
	}
	conn, err := n.ListenPacket("udp", "")
	if err != nil {
		return Reply{}, err
	}
	defer n.release(conn)
	if _, err := conn.WriteTo([]byte("who is there?"), net.UDPAddrFromAddrPort(to)); err != nil {
		return Reply{}, fmt.Errorf("asking %s from %s: %w", to, n.Name, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return Reply{}, err
	}
	buffer := make([]byte, 2048)
	size, from, err := conn.ReadFrom(buffer)
	if err != nil {
		return Reply{}, fmt.Errorf("%s asked %s: no answer: %w", n.Name, to, err)
	}
	return Reply{From: from.(*net.UDPAddr).AddrPort().Addr().Unmap(), Text: string(buffer[:size])}, nil
}

// Ear keeps what comes to a UDP port.
type Ear struct {
	mu    sync.Mutex
	heard []Reply
}

// Listen keeps what comes to the UDP port until the namespace is closed.
func (n *Namespace) Listen(port uint16) (*Ear, error) {
	conn, err := n.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	ear := &Ear{}
	go func() {
		buffer := make([]byte, 2048)
		for {
			size, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				ear.keep(Reply{From: from.(*net.UDPAddr).AddrPort().Addr().Unmap(), Text: string(buffer[:size])})
			}
		}
	}()
	return ear, nil
}

func (e *Ear) keep(r Reply) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, r)
}

// Heard is everything so far.
func (e *Ear) Heard() []Reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Reply(nil), e.heard...)
}

// Say sends one datagram; whether it arrives nobody knows. A kernel that
// already refuses to send it is no error.
func (n *Namespace) Say(to netip.AddrPort, text string) error {
	conn, err := n.ListenPacket("udp", "")
	if err != nil {
		return err
	}
	defer n.release(conn)
	_, err = conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(to))
	var refused *os.SyscallError
	if err != nil && !errors.As(err, &refused) {
		return fmt.Errorf("sending to %s from %s: %w", to, n.Name, err)
	}
	return nil
}

func (n *Namespace) release(conn net.PacketConn) {
	conn.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, s := range n.sockets {
		if s == conn {
			n.sockets = append(n.sockets[:i], n.sockets[i+1:]...)
			return
		}
	}
}

// Pings counts the echo requests of one stream and the answers.
type Pings struct {
	Sent, Received int
	// LongestGap is the longest time without an answer.
	LongestGap time.Duration
	// Unanswered are the times at which those without an answer were sent.
	Unanswered []time.Time
}

// Lost is how many were never answered.
func (p Pings) Lost() int { return p.Sent - p.Received }

// pingInterval is how often Ping repeats itself: a single request may be lost
// while a switch or a neighbour is still finding out who is where.
const pingInterval = 100 * time.Millisecond

// Ping sends ICMP echo requests until one is answered.
func (n *Namespace) Ping(ctx context.Context, to netip.Addr, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	stream, err := n.StartPing(to, pingInterval)
	if err != nil {
		return err
	}
	select {
	case <-stream.first:
	case <-ctx.Done():
	}
	if got := stream.Stop(0); got.Received == 0 {
		return fmt.Errorf("ping from %s to %s: no answer within %s", n.Name, to, wait)
	}
	return nil
}

// PingStream pings at an interval until it is stopped.
type PingStream struct {
	space *Namespace
	conn  net.PacketConn
	to    netip.Addr
	id    int
	first chan struct{} // closed at the first answer
	quit  chan struct{}
	done  sync.WaitGroup

	mu       sync.Mutex
	answered map[int]bool
	sent     []time.Time
	last     time.Time
	gap      time.Duration
}

// StartPing begins a stream of ICMP echo requests.
func (n *Namespace) StartPing(to netip.Addr, interval time.Duration) (*PingStream, error) {
	network := "ip4:icmp"
	if to.Is6() {
		network = "ip6:ipv6-icmp"
	}
	conn, err := n.ListenPacket(network, "")
	if err != nil {
		return nil, err
	}
	s := &PingStream{space: n, conn: conn, to: to, id: os.Getpid() & 0xffff, last: time.Now(),
		first: make(chan struct{}), quit: make(chan struct{}), answered: map[int]bool{}}
	s.done.Go(s.receive)
	s.done.Go(func() { s.send(interval) })
	return s, nil
}

func (s *PingStream) send(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for seq := 0; ; seq++ {
		var kind icmp.Type = ipv4.ICMPTypeEcho
		if s.to.Is6() {
			kind = ipv6.ICMPTypeEchoRequest
		}
		s.mu.Lock()
		s.sent = append(s.sent, time.Now())
		s.mu.Unlock()
		message := icmp.Message{Type: kind, Body: &icmp.Echo{ID: s.id, Seq: seq & 0xffff}}
		packet, err := message.Marshal(nil) // the kernel fills in IPv6's checksum
		if err == nil {
			_, _ = s.conn.WriteTo(packet, &net.IPAddr{IP: s.to.AsSlice()}) // not sent counts as lost
		}
		select {
		case <-ticker.C:
		case <-s.quit:
			return
		}
	}
}

func (s *PingStream) receive() {
	protocol := 1
	if s.to.Is6() {
		protocol = 58
	}
	buffer := make([]byte, 2048)
	for {
		size, from, err := s.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		message, err := icmp.ParseMessage(protocol, buffer[:size])
		if err != nil || (message.Type != ipv4.ICMPTypeEchoReply && message.Type != ipv6.ICMPTypeEchoReply) {
			continue
		}
		address, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		if echo, ok := message.Body.(*icmp.Echo); ok && echo.ID == s.id && address.Unmap() == s.to {
			s.count(echo.Seq)
		}
	}
}

func (s *PingStream) count(seq int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answered) == 0 {
		close(s.first)
	}
	s.answered[seq] = true
	now := time.Now()
	s.gap, s.last = max(s.gap, now.Sub(s.last)), now
}

// Counts is what the stream has seen so far; the last requests may still be
// under way.
func (s *PingStream) Counts() Pings {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Pings{Sent: len(s.sent), Received: len(s.answered), LongestGap: s.gap}
	for seq, at := range s.sent {
		if !s.answered[seq] {
			p.Unanswered = append(p.Unanswered, at)
		}
	}
	return p
}

// Stop sends no more, waits for the last answers at most as long as given, and
// says what became of all. A stream counts up to 65,536 requests.
func (s *PingStream) Stop(wait time.Duration) Pings {
	close(s.quit)
	for deadline := time.Now().Add(wait); time.Now().Before(deadline) && s.Counts().Lost() > 0; {
		<-time.After(10 * time.Millisecond)
	}
	s.space.release(s.conn)
	s.done.Wait()
	return s.Counts()
}
