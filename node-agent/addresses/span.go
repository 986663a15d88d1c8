// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// maxAddresses is the most a range may hold; of a larger one, which the API
// does not admit, only the first so many are used.
const maxAddresses = 1 << 24

// span is a range and what is taken of it. Numbers are offsets from its first
// address. Every address may be handed out, the first and the last too: pods
// are routed each by itself, so there is no network or broadcast address.
type span struct {
	Range
	size uint32
	// lo and hi bound what may be handed out: [lo, hi) is Keep.
	lo, hi uint32
	// next is where the search begins: just after the last one handed out, so
	// that a freed address is the last to be used again.
	next     uint32
	taken    bitmap // held or withheld
	withheld map[uint32]struct{}
	held     int64
	// free is the number of addresses in [lo, hi) that are not taken.
	free int64
}

func newSpan(r Range) *span {
	size := uint32(maxAddresses)
	if host := r.CIDR.Addr().BitLen() - r.CIDR.Bits(); host < 24 {
		size = 1 << host
	}
	s := &span{Range: r, size: size, hi: size, taken: newBitmap(size)}
	if r.Keep != nil {
		s.lo, s.hi = s.window(*r.Keep)
	}
	s.withheld = make(map[uint32]struct{}, len(r.Withheld))
	s.free = int64(s.hi - s.lo)
	for _, a := range r.Withheld {
		if n, ok := s.offset(a.Unmap()); ok {
			s.withheld[n] = struct{}{}
			s.take(n)
		}
	}
	s.next = s.lo
	return s
}

// window is the part of the range that lies in keep.
func (s *span) window(keep netip.Prefix) (lo, hi uint32) {
	if !keep.IsValid() || !keep.Overlaps(s.CIDR) {
		return 0, 0
	}
	if keep.Bits() <= s.CIDR.Bits() {
		return 0, s.size
	}
	lo, ok := s.offset(keep.Masked().Addr())
	if !ok {
		return 0, 0
	}
	last, ok := s.offset(netipx.PrefixLastIP(keep))
	if !ok {
		last = s.size - 1
	}
	return lo, last + 1
}

// offset is the number of an address; false if it is not in the range.
func (s *span) offset(a netip.Addr) (uint32, bool) {
	if !s.CIDR.Contains(a) {
		return 0, false
	}
	n := low(a) - low(s.CIDR.Addr())
	return n, n < s.size && (a.Is4() || high(a) == high(s.CIDR.Addr()))
}

// addr is the address of a number.
func (s *span) addr(n uint32) netip.Addr {
	if first := s.CIDR.Addr(); first.Is4() {
		b := first.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
		return netip.AddrFrom4(b)
	}
	b := s.CIDR.Addr().As16()
	// The first address is a multiple of the size: adding carries no further.
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+n)
	return netip.AddrFrom16(b)
}

func low(a netip.Addr) uint32 {
	if a.Is4() {
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := a.As16()
	return binary.BigEndian.Uint32(b[12:])
}

func high(a netip.Addr) [12]byte {
	b := a.As16()
	return [12]byte(b[:12])
}

func (s *span) inside(n uint32) bool { return s.lo <= n && n < s.hi }

// take marks n and reports whether it was free.
func (s *span) take(n uint32) bool {
	if !s.taken.add(n) {
		return false
	}
	if s.inside(n) {
		s.free--
	}
	return true
}

// give marks n as free again, unless it is withheld.
func (s *span) give(n uint32) {
	if _, withheld := s.withheld[n]; withheld {
		return
	}
	s.taken.remove(n)
	if s.inside(n) {
		s.free++
	}
}

// pick takes the next free address.
func (s *span) pick() (uint32, bool) {
	if s.free == 0 {
		return 0, false
	}
	n, ok := s.taken.firstFree(s.next, s.hi)
	if !ok {
		if n, ok = s.taken.firstFree(s.lo, s.next); !ok {
			return 0, false
		}
	}
	s.take(n)
	s.next = n + 1
	return n, true
}

// resume goes on where an earlier state of the same range stopped.
func (s *span) resume(next uint32) {
	if next >= s.lo && next <= s.hi {
		s.next = next
	}
}

// usable is the number of addresses that are handed out or may be.
func (s *span) usable() int64 { return s.held + s.free }

// sameRange reports whether nothing about a range changed.
func sameRange(a, b Range) bool {
	if (a.Keep == nil) != (b.Keep == nil) || (a.Keep != nil && *a.Keep != *b.Keep) {
		return false
	}
	return a.Name == b.Name && a.UID == b.UID && a.Pool == b.Pool && a.CIDR == b.CIDR &&
		a.Epoch == b.Epoch && slices.Equal(a.Withheld, b.Withheld)
}
