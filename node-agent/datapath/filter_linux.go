// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// nft speaks to the host's nftables.
type nft struct {
	conn  *nftables.Conn
	opts  Options
	table *nftables.Table
}

// sendBuffer holds the largest transaction: a filter for thousands of peers.
const sendBuffer = 32 << 20

func (k *Kernel) nft(opts Options) (*nft, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(k.hostNS), nftables.WithSockOptions(func(c *netlink.Conn) error {
		_ = c.SetReadBuffer(sendBuffer) // without the privilege: as large as it may be
		return c.SetWriteBuffer(sendBuffer)
	}))
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	return &nft{conn: conn, opts: opts, table: &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}}, nil
}

func chainOf(t *nftables.Table, name string) *nftables.Chain {
	c := &nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeFilter, Priority: nftables.ChainPriorityRaw}
	switch name {
	case chainSource:
		c.Hooknum = nftables.ChainHookPrerouting
	case chainReceive:
		c.Hooknum = nftables.ChainHookInput
	case chainOutput:
		c.Hooknum = nftables.ChainHookOutput
	case chainRelay:
		c.Hooknum, c.Priority = nftables.ChainHookForward, nftables.ChainPriorityFilter
	case chainLeave:
		c.Hooknum, c.Type, c.Priority = nftables.ChainHookPostrouting, nftables.ChainTypeNAT, nftables.ChainPriorityNATSource
	}
	return c
}

// setOf describes one of the table's sets.
func setOf(t *nftables.Table, name string, six bool) *nftables.Set {
	key := nftables.TypeIPAddr
	if six {
		key = nftables.TypeIP6Addr
	}
	s := &nftables.Set{Table: t, Name: sized(name, six), KeyType: key}
	switch name {
	case poolsSet:
		s.Interval = true
	case directSet:
		s.Interval, s.Concatenation = true, true
		s.KeyType = nftables.MustConcatSetType(key, nftables.TypeEtherAddr)
	}
	return s
}

// sets are the names of the sets that the rules use.
func (o Options) sets() []string {
	if o.direct() {
		return []string{peersSet, poolsSet, directSet}
	}
	return []string{peersSet, poolsSet}
}

// replace puts a whole new table in the place of the old one, in one
// transaction: no packet passes between the two.
func (n *nft) replace(f filter) error {
	n.conn.AddTable(n.table) // or deleting it would fail if there is none
	n.conn.DelTable(n.table)
	n.build(n.table, f)
	return n.conn.Flush()
}

func (n *nft) build(table *nftables.Table, f filter) {
	n.conn.AddTable(table)
	ids := map[string]uint32{}
	for _, name := range n.opts.sets() {
		for _, six := range []bool{false, true} {
			set := setOf(table, name, six)
			// Unique in the transaction; the library's own count is shared by
			// all connections, and not guarded.
			set.ID = uint32(len(ids) + 1)
			// The library fails only on sets that are not well-formed.
			_ = n.conn.AddSet(set, nil)
			ids[set.Name] = set.ID
			n.addElements(set, f.elements(name, six))
		}
	}
	chains := map[string]*nftables.Chain{}
	for _, r := range n.opts.rules() {
		if chains[r.chain] == nil {
			chains[r.chain] = n.conn.AddChain(chainOf(table, r.chain))
		}
		n.conn.AddRule(&nftables.Rule{
			Table: table, Chain: chains[r.chain], Exprs: r.expressions(ids),
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.text()),
		})
	}
}

// elementsAtOnce fit into one message, whose parts have 16-bit lengths.
const elementsAtOnce = 400

func (n *nft) addElements(s *nftables.Set, all []nftables.SetElement) {
	for some := range slices.Chunk(all, elementsAtOnce) {
		_ = n.conn.SetAddElements(s, some)
	}
}

// change applies a difference to the sets of the table that stands, in one
// transaction.
func (n *nft) change(c filterChange) error {
	gone, added := filter{peers: c.peersGone, direct: c.directGone}, filter{peers: c.peersNew, direct: c.directNew, pools: c.pools}
	for _, name := range n.opts.sets() {
		for _, six := range []bool{false, true} {
			set := setOf(n.table, name, six)
			if name == poolsSet && c.set {
				n.conn.FlushSet(set)
			}
			for some := range slices.Chunk(gone.elements(name, six), elementsAtOnce) {
				_ = n.conn.SetDeleteElements(set, some)
			}
			n.addElements(set, added.elements(name, six))
		}
	}
	return n.conn.Flush()
}

// elements are a set's, as the kernel keeps them.
func (f filter) elements(name string, six bool) (all []nftables.SetElement) {
	switch name {
	case peersSet:
		for _, a := range f.peers {
			if a.Is6() == six {
				all = append(all, nftables.SetElement{Key: a.AsSlice()})
			}
		}
	case poolsSet:
		for _, p := range f.pools {
			if p.Addr().Is6() != six {
				continue
			}
			all = append(all, nftables.SetElement{Key: p.Addr().AsSlice()})
			if end := netipx.PrefixLastIP(p).Next(); end.IsValid() {
				all = append(all, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
			}
		}
	case directSet:
		for _, d := range f.direct {
			if d.from.Addr().Is6() == six {
				all = append(all, nftables.SetElement{Key: cardKey(d.from.Addr(), d.mac), KeyEnd: cardKey(netipx.PrefixLastIP(d.from), d.mac)})
			}
		}
	}
	return all
}

// cardKey joins an address and a hardware address, each filled up to 32 bits.
func cardKey(a netip.Addr, mac string) []byte {
	hw, _ := net.ParseMAC(mac) // written by net.HardwareAddr.String
	return append(append(a.AsSlice(), hw...), 0, 0)
}

// Registers: 16 bytes each from 1, or four bytes each from 8.
const (
	reg     = 1
	reg32   = 8
	reg6mac = reg32 + 4
)

// expressions translates a rule into the kernel's.
func (r rule) expressions(ids map[string]uint32) (all []expr.Any) {
	for _, p := range r.parts {
		all = append(all, p.expressions(ids)...)
	}
	return all
}

func (p part) expressions(ids map[string]uint32) []expr.Any {
	equal := func(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data} }
	switch p.kind {
	case partFamily:
		proto := byte(unix.NFPROTO_IPV4)
		if p.six {
			proto = unix.NFPROTO_IPV6
		}
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equal(proto)}
	case partInPrefix:
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, equal([]byte(p.name)...)}
	case partIn:
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, equal(deviceName(p.name)...)}
	case partOut:
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg}, equal(deviceName(p.name)...)}
	case partNotSentOn:
		return []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, statusDNAT), Xor: make([]byte, 4)},
			equal(0, 0, 0, 0),
		}
	case partNoWayBack:
		return []expr.Any{&expr.Fib{Register: reg, FlagSADDR: true, FlagIIF: true, ResultOIF: true}, equal(0, 0, 0, 0)}
	case partTunnelPort:
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, equal(unix.IPPROTO_UDP),
			load(expr.PayloadBaseTransportHeader, 2, 2), equal(binary.BigEndian.AppendUint16(nil, uint16(p.num))...),
		}
	case partNetwork:
		return []expr.Any{load(expr.PayloadBaseTransportHeader, 12, 3), equal(byte(p.num>>16), byte(p.num>>8), byte(p.num))}
	case partCount:
		return []expr.Any{&expr.Counter{}}
	case partNotrack:
		return []expr.Any{&expr.Notrack{}}
	case partAccept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	case partDrop:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	case partMasquerade:
		return []expr.Any{&expr.Masq{FullyRandom: true}}
	default:
		return p.addressExpressions(ids)
	}
}

// statusDNAT is conntrack's IPS_DST_NAT.
const statusDNAT = 1 << 5

// deviceName is an interface's name as the kernel keeps it.
func deviceName(name string) []byte {
	return append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...)
}

func load(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}
}

// addressExpressions look at the packet's addresses.
func (p part) addressExpressions(ids map[string]uint32) []expr.Any {
	offsets, length, macRegister := [2]uint32{12, 16}, uint32(4), uint32(reg32+1)
	if p.six {
		offsets, length, macRegister = [2]uint32{8, 24}, 16, reg6mac
	}
	lookup := func(register uint32) expr.Any {
		return &expr.Lookup{SourceRegister: register, SetName: p.name, SetID: ids[p.name], Invert: p.not}
	}
	switch p.kind {
	case partSource:
		return []expr.Any{load(expr.PayloadBaseNetworkHeader, offsets[0], length), lookup(reg)}
	case partDestination:
		return []expr.Any{load(expr.PayloadBaseNetworkHeader, offsets[1], length), lookup(reg)}
	case partCard:
		return []expr.Any{
			&expr.Payload{DestRegister: reg32, Base: expr.PayloadBaseNetworkHeader, Offset: offsets[0], Len: length},
			&expr.Payload{DestRegister: macRegister, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6},
			lookup(reg32),
		}
	default: // partMulticast: the first bits of the destination
		mask, group := []byte{0xf0}, []byte{0xe0}
		if p.six {
			mask, group = []byte{0xff}, []byte{0xff}
		}
		return []expr.Any{
			load(expr.PayloadBaseNetworkHeader, offsets[1], 1),
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: mask, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: group},
		}
	}
}

// read is the filter that stands; nil if there is none. Rules that are not
// those of these options have a name of their own.
func (n *nft) read() (*filter, error) {
	tables, err := n.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("reading nftables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName }) {
		return nil, nil
	}
	f := &filter{}
	if f.rules, err = n.readRules(); err != nil {
		return nil, err
	}
	for _, name := range []string{peersSet, poolsSet, directSet} {
		for _, six := range []bool{false, true} {
			elements, err := n.conn.GetSetElements(setOf(n.table, name, six))
			if err != nil && strings.Contains(err.Error(), unix.ENOENT.Error()) {
				continue // an earlier version's table, or one for another mode
			}
			if err != nil {
				return nil, fmt.Errorf("reading the set %s: %w", sized(name, six), err)
			}
			f.take(name, six, elements)
		}
	}
	f.pools = merged(f.pools)
	return f, nil
}

func (n *nft) readRules() (string, error) {
	byChain := map[string][]string{}
	for _, name := range []string{chainSource, chainReceive, chainRelay, chainOutput, chainLeave} {
		chain := chainOf(n.table, name)
		rules, err := n.conn.GetRules(n.table, chain)
		if err != nil && !strings.Contains(err.Error(), unix.ENOENT.Error()) {
			return "", fmt.Errorf("reading the rules of chain %s: %w", name, err)
		}
		for _, r := range rules {
			text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			byChain[name] = append(byChain[name], text)
		}
	}
	return versionOf(byChain), nil
}

// take reads elements back.
func (f *filter) take(name string, six bool, elements []nftables.SetElement) {
	size := map[bool]int{false: 4, true: 16}[six]
	switch name {
	case peersSet:
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				f.peers = append(f.peers, a)
			}
		}
	case poolsSet:
		f.pools = append(f.pools, intervals(elements, six)...)
	case directSet:
		for _, e := range elements {
			if len(e.Key) < size+6 || len(e.KeyEnd) < size {
				continue
			}
			from, _ := netip.AddrFromSlice(e.Key[:size])
			to, _ := netip.AddrFromSlice(e.KeyEnd[:size])
			if p, ok := netipx.IPRangeFrom(from, to).Prefix(); ok {
				f.direct = append(f.direct, directSource{from: p, mac: net.HardwareAddr(e.Key[size : size+6]).String()})
			}
		}
	}
}

// intervals pairs the beginnings and ends of an interval set.
func intervals(elements []nftables.SetElement, six bool) (all []netip.Prefix) {
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		if c := slices.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return map[bool]int{true: -1, false: 1}[a.IntervalEnd]
	})
	last := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if six {
		last = netipx.PrefixLastIP(netip.MustParsePrefix("::/0"))
	}
	for i, e := range elements {
		from, ok := netip.AddrFromSlice(e.Key)
		if e.IntervalEnd || !ok {
			continue
		}
		to := last
		if i+1 < len(elements) && elements[i+1].IntervalEnd {
			if end, ok := netip.AddrFromSlice(elements[i+1].Key); ok {
				to = end.Prev()
			}
		}
		all = append(all, netipx.IPRangeFrom(from, to).Prefixes()...)
	}
	return all
}
