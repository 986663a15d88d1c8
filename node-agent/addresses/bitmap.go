// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package addresses

import "math/bits"

const (
	pageBits  = 1 << 12
	pageWords = pageBits / 64
)

// page is a run of pageBits bits with the number of those that are set, so
// that a full page is stepped over at once.
type page struct {
	set   int
	words [pageWords]uint64
}

// bitmap is a set of small numbers. It takes memory where it was used only: a
// page is made when its first bit is set, and kept.
type bitmap struct {
	pages []*page
}

// newBitmap holds the numbers below size.
func newBitmap(size uint32) bitmap {
	return bitmap{pages: make([]*page, (uint64(size)+pageBits-1)/pageBits)}
}

func (b *bitmap) has(n uint32) bool {
	p := b.pages[n/pageBits]
	return p != nil && p.words[n%pageBits/64]&(1<<(n%64)) != 0
}

// add reports whether n was not in the set before.
func (b *bitmap) add(n uint32) bool {
	p := b.pages[n/pageBits]
	if p == nil {
		p = new(page)
		b.pages[n/pageBits] = p
	}
	word, bit := &p.words[n%pageBits/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	p.set++
	return true
}

func (b *bitmap) remove(n uint32) {
	p := b.pages[n/pageBits]
	if p == nil {
		return
	}
	word, bit := &p.words[n%pageBits/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		*word &^= bit
		p.set--
	}
}

// firstFree is the lowest number in [from, to) that is not in the set.
func (b *bitmap) firstFree(from, to uint32) (uint32, bool) {
	for n := from; n < to; {
		p := b.pages[n/pageBits]
		if p == nil {
			return n, true
		}
		if p.set == pageBits {
			n = (n/pageBits + 1) * pageBits
			continue
		}
		// Bits below n count as taken in the first word that is looked at.
		if free := ^p.words[n%pageBits/64] &^ (1<<(n%64) - 1); free != 0 {
			n = n&^63 + uint32(bits.TrailingZeros64(free))
			return n, n < to
		}
		n = (n/64 + 1) * 64
	}
	return 0, false
}
