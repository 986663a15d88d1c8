// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package world

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Drop is a cut in one direction: what the machine sends, or what comes to it,
// is lost; all of it, or that with one other machine.
type Drop struct {
	Sending bool
	// With is the other machine, or the switch where the API servers are; the
	// zero address: everybody.
	With netip.Addr
}

// Lose begins to lose packets, until the returned function is called.
func (m *Machine) Lose(d Drop) (stop func()) {
	m.change(func() { m.drops[&d] = true })
	return func() { m.change(func() { delete(m.drops, &d) }) }
}

// API is the address at which machines find the API servers.
func (w *World) API() netip.Addr { return w.net.Address }

const (
	dropTable    = "chaos"
	agentTable   = "selvage"
	ipv4Source   = 12 // the offsets in IPv4's header
	ipv4Target   = 16
	dropPriority = -450 // before anything else sees the packet
)

// applyDrops puts one table in the place of another, at once. It is in the
// machine's own namespace, beside what the agent has there.
func (m *Machine) applyDrops() error {
	return m.nftables(func(conn *nftables.Conn) {
		table := &nftables.Table{Name: dropTable, Family: nftables.TableFamilyINet}
		conn.AddTable(table) // or deleting it would fail if there is none
		conn.DelTable(table)
		conn.AddTable(table)
		priority := nftables.ChainPriority(dropPriority)
		in := conn.AddChain(&nftables.Chain{Name: "in", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: &priority})
		out := conn.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: &priority})
		for d := range m.drops {
			chain, device, offset := in, expr.MetaKeyIIFNAME, uint32(ipv4Source)
			if d.Sending {
				chain, device, offset = out, expr.MetaKeyOIFNAME, ipv4Target
			}
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: d.match(device, offset)})
		}
	})
}

// nftables makes one change on the machine.
func (m *Machine) nftables(change func(*nftables.Conn)) error {
	space, err := os.Open(m.host.NetNS)
	if err != nil {
		return fmt.Errorf("opening the namespace of %s: %w", m.Name, err)
	}
	defer space.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(space.Fd())))
	if err != nil {
		return fmt.Errorf("opening nftables on %s: %w", m.Name, err)
	}
	change(conn)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("changing the filters on %s: %w", m.Name, err)
	}
	return nil
}

func (d *Drop) match(device expr.MetaKey, offset uint32) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "eth0")
	rule := []expr.Any{&expr.Meta{Key: device, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
	if d.With.IsValid() {
		rule = append(rule,
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: d.With.AsSlice()})
	}
	return append(rule, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// Unfence takes the agent's own filter away: the sabotage that chaos is tested
// with. The agent puts it up again when it looks.
func (m *Machine) Unfence() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nftables(func(conn *nftables.Conn) {
		table := &nftables.Table{Name: agentTable, Family: nftables.TableFamilyINet}
		conn.AddTable(table)
		conn.DelTable(table)
	})
}
