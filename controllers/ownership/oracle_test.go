// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selvage-net/selvage/controllers/ownership"
	"github.com/selvage-net/selvage/test/model"
)

var operations = flag.Int("operations", 4, "the length of the sequences that are tried exhaustively")

// oracle is the plain record of who owns each of 16 addresses, in blocks of
// four: 0 is nobody. It knows nothing of claims, epochs, leases or barriers.
type oracle struct {
	owner [16]int
	in    [4]bool // by host, from 1
	wants [4]int  // headroom
	home  [4]int  // the block of the host's own address
}

func (o *oracle) blocks(host int) (out []int) {
	for b := range 4 {
		if o.owner[4*b] == host {
			out = append(out, b)
		}
	}
	return out
}

func (o *oracle) give(block, host int) {
	for i := range 4 {
		o.owner[4*block+i] = host
	}
	if host != 0 && len(o.blocks(host)) == 1 {
		o.home[host] = block
	}
}

// free is what a host can still give out: its own address is not.
func (o *oracle) free(host int) int {
	n := 4 * len(o.blocks(host))
	if n > 0 {
		n--
	}
	return n
}

// settle grants until nobody lacks, or nothing is to be had. Newcomers come
// first, then names; the lowest free block first; then the idle block of the
// host with the most to spare.
func (o *oracle) settle() {
	for {
		var lacking []int
		for _, newcomers := range []bool{true, false} {
			for h := 1; h <= 3; h++ {
				none := len(o.blocks(h)) == 0
				if o.in[h] && none == newcomers && (none || o.free(h) < o.wants[h]) {
					lacking = append(lacking, h)
				}
			}
		}
		progress := false
		for _, h := range lacking {
			if free := o.blocks(0); len(free) > 0 {
				o.give(free[0], h)
				progress = true
			}
		}
		if !progress && (len(lacking) == 0 || !o.askBack()) {
			return
		}
	}
}

func (o *oracle) askBack() bool {
	best, most := 0, 0
	for h := 1; h <= 3; h++ {
		idle := slices.DeleteFunc(o.blocks(h), func(b int) bool { return b == o.home[h] })
		if o.in[h] && len(idle) > 0 && o.free(h)-o.wants[h] >= 4 && o.free(h) > most {
			best, most = h, o.free(h)
		}
	}
	if best == 0 {
		return false
	}
	for _, b := range o.blocks(best) {
		if b != o.home[best] {
			o.give(b, 0)
			return true
		}
	}
	return false
}

// operation is one thing that people do, to the oracle and to the cluster.
type operation struct {
	name    string
	oracle  func(*oracle) bool // false: not possible now
	cluster func(*stage)
}

func name(host int) string { return fmt.Sprintf("host%d", host) }

func allOperations() (out []operation) {
	for h := 1; h <= 3; h++ {
		out = append(out, operation{"grow " + name(h), func(o *oracle) bool {
			o.wants[h] = o.free(h) + 1
			return o.in[h]
		}, func(s *stage) {
			for _, r := range s.Store.Snapshot().Peers {
				if r.Name == name(h) {
					s.Host(name(h)).Headroom = int64(s.capacity(name(h)))
				}
			}
		}}, operation{"join " + name(h), func(o *oracle) bool {
			was := o.in[h]
			o.in[h], o.wants[h] = true, 1
			return !was
		}, func(s *stage) {
			s.Host(name(h)).Headroom = 1
			s.Store.Undeclare(name(h))
		}})
		for heir := 0; heir <= 3; heir++ {
			if heir == h {
				continue
			}
			to := ""
			if heir > 0 {
				to = name(heir)
			}
			out = append(out, operation{"remove " + name(h) + " heir " + to, func(o *oracle) bool {
				if !o.in[h] || heir > 0 && !o.in[heir] {
					return false
				}
				for _, b := range o.blocks(h) {
					o.give(b, heir)
				}
				o.in[h] = false
				return true
			}, func(s *stage) { s.declare(name(h), to) }})
		}
	}
	return out
}

// capacity is one more than what a host that uses nothing has free.
func (s *stage) capacity(host string) (n int) {
	for _, r := range s.Store.Snapshot().Ranges {
		if r.Owner.Name == host {
			n += 1 << (32 - r.CIDR.Bits())
		}
	}
	return max(n, 1)
}

func (s *stage) owners() (out [16]int) {
	for _, r := range s.Store.Snapshot().Ranges {
		for h := 1; h <= 3; h++ {
			if r.Owner.Name == name(h) {
				from := int(r.CIDR.Addr().As4()[3])
				for i := range 1 << (32 - r.CIDR.Bits()) {
					out[from+i] = h
				}
			}
		}
	}
	return out
}

// scrap takes the machines away for good that are out of the network: in the
// end there is a Lease for each that is in, and no other.
func scrap(t *testing.T, w *model.World, o oracle, story string) {
	s := &stage{World: w, c: w.Controllers[0]}
	var in []string
	for h := 1; h <= 3; h++ {
		if o.in[h] {
			in = append(in, name(h))
			continue
		}
		s.PowerOff(s.Host(name(h)))
		s.Store.DeleteNode(name(h))
		s.Store.Undeclare(name(h))
	}
	s.work(8, in...)
	var leases []string
	for _, l := range s.Store.Snapshot().Leases {
		leases = append(leases, l.Name)
	}
	if !slices.Equal(leases, in) || s.owners() != o.owner || len(s.Violations) > 0 {
		t.Fatalf("after %s, and scrapping what is out: leases of %v, want %v; owners %v, want %v; %v", story, leases, in, s.owners(), o.owner, s.Violations)
	}
}

// TestOracle plays every short sequence of what people can do to three hosts
// that share 16 addresses, and compares who owns each address.
func TestOracle(t *testing.T) {
	all := allOperations()
	played := 0
	var play func(w *model.World, o oracle, done []string)
	play = func(w *model.World, o oracle, done []string) {
		if len(done) == *operations {
			return
		}
		for _, op := range all {
			next := o
			if !op.oracle(&next) {
				continue
			}
			next.settle()
			branch := w.Clone()
			s := &stage{World: branch, c: branch.Controllers[0]}
			op.cluster(s)
			s.work(12, "host1", "host2", "host3")
			played++
			story := append(done[:len(done):len(done)], op.name)
			if got := s.owners(); got != next.owner {
				t.Fatalf("after %s:\ngot  %v\nwant %v\n%v\n%v\n%v %v %v", strings.Join(story, "; "), got, next.owner, s.Ownership(), s.Peers(), s.Waits(), s.Store.Snapshot().Peers, s.Store.Snapshot().Removals)
			}
			if len(s.Violations) > 0 {
				t.Fatalf("after %s: %v", strings.Join(story, "; "), s.Violations)
			}
			if len(story) < *operations-1 {
				scrap(t, branch.Clone(), next, strings.Join(story, "; "))
			}
			play(branch, next, story)
		}
	}
	s := newStage(ownership.Config{}, 3)
	s.Run(time.Minute)
	start := oracle{in: [4]bool{false, true, true, true}, wants: [4]int{0, 1, 1, 1}}
	start.settle()
	if got := s.owners(); got != start.owner {
		t.Fatalf("at first: got %v, want %v", got, start.owner)
	}
	play(s.World, start, nil)
	t.Logf("%d sequences", played)
}
