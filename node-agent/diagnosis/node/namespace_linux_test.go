// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net"
	"os"
	goruntime "runtime"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// hold has a program take the tunnels' port in a machine until the test ends.
// The socket stays in the namespace that the thread was in when it was made.
func hold(t *testing.T, m *machine) {
	t.Helper()
	taken := make(chan net.PacketConn)
	go func() {
		defer close(taken)
		goruntime.LockOSThread() // and never unlocked: the thread is thrown away
		at, err := os.Open("/run/netns/" + m.name)
		if err == nil {
			err = unix.Setns(int(at.Fd()), unix.CLONE_NEWNET)
			_ = at.Close()
		}
		var conn net.PacketConn
		if err == nil {
			conn, err = net.ListenPacket("udp4", ":4789")
		}
		if err != nil {
			t.Error(err)
			return
		}
		taken <- conn
	}()
	conn, ok := <-taken
	if !ok {
		t.FailNow()
	}
	t.Cleanup(func() { _ = conn.Close() })
}

// block is a firewall that lets no tunnel in.
func block(m *machine) {
	m.t.Helper()
	at, err := os.Open("/run/netns/" + m.name)
	if err != nil {
		m.t.Fatal(err)
	}
	defer at.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(at.Fd())))
	if err != nil {
		m.t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "firewall", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Name: "in", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRaw})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x12, 0xb5}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := conn.Flush(); err != nil {
		m.t.Fatal(err)
	}
}
