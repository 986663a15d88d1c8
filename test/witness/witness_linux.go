// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Node is where one node's pods can be seen.
type Node struct {
	Name string
	// Boot is another one each time the node starts.
	Boot string
	// Root is the root folder as the node sees it, such as /proc/PID/root.
	Root string
}

// Witness looks at the kernels of nodes and writes down what it sees.
type Witness struct {
	// Within are the addresses that count.
	Within []netip.Prefix

	mu       sync.Mutex
	open     map[place]Stay
	closed   []Stay
	silences map[string]Silence
	silent   []Silence
	looks    int
}

type place struct {
	addr   netip.Addr
	holder Holder
}

// Watch looks at every node again and again, and ends with the context. nodes
// says which ones run at the moment.
func (w *Witness) Watch(ctx context.Context, every time.Duration, nodes func() []Node) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for _, n := range nodes() {
			if err := w.Look(n); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Look reads what every pod of a node has. A node that dies meanwhile is no
// error: its namespaces end with it.
func (w *Witness) Look(n Node) error {
	names, err := os.ReadDir(filepath.Join(n.Root, "run/netns"))
	if vanished(err) {
		names = nil
	} else if err != nil {
		return fmt.Errorf("the network namespaces of %s: %w", n.Name, err)
	}
	seen := map[Holder]bool{}
	for _, name := range names {
		holder, err := w.lookInto(n, filepath.Join(n.Root, "run/netns", name.Name()))
		if err != nil && !vanished(err) {
			return fmt.Errorf("%s on %s: %w", name.Name(), n.Name, err)
		}
		if err == nil {
			seen[holder] = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	for p := range w.open {
		if p.holder.Node == n.Name && !seen[p.holder] {
			w.end(p)
		}
	}
	return nil
}

// errNotMounted is a name whose namespace is not there yet, or no more.
var errNotMounted = errors.New("no namespace is mounted there")

// vanished says that what was looked at ended before it was seen.
func vanished(err error) bool {
	return errors.Is(err, errNotMounted) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

func (w *Witness) lookInto(n Node, path string) (Holder, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return Holder{}, err
	}
	defer ns.Close()
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(ns), &system); err != nil {
		return Holder{}, err
	}
	if system.Type != unix.NSFS_MAGIC {
		return Holder{}, errNotMounted
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(ns), &stat); err != nil {
		return Holder{}, err
	}
	holder := Holder{Node: n.Name, Boot: n.Boot, Inode: stat.Ino}
	begin := time.Now()
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return Holder{}, err
	}
	defer handle.Close()
	list, err := handle.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return Holder{}, err
	}
	w.write(holder, list, begin, time.Now())
	return holder, nil
}

// write notes what a namespace has, and what it has no more.
func (w *Witness) write(holder Holder, list []netlink.Addr, begin, end time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[place]Stay{}
	}
	has := map[place]bool{}
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		if !ok || !w.counts(addr.Unmap()) {
			continue
		}
		p := place{addr.Unmap(), holder}
		has[p] = true
		stay, known := w.open[p]
		if !known {
			stay = Stay{Addr: p.addr, Holder: holder, FirstEnd: end}
		}
		stay.LastBegin = begin
		w.open[p] = stay
	}
	for p := range w.open {
		if p.holder == holder && !has[p] {
			w.end(p)
		}
	}
}

// end closes a stay; its caller holds the lock.
func (w *Witness) end(p place) {
	w.closed = append(w.closed, w.open[p])
	delete(w.open, p)
}

func (w *Witness) counts(addr netip.Addr) bool {
	for _, p := range w.Within {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Silent notes that from now on the other nodes cannot hear this one.
func (w *Witness) Silent(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silences == nil {
		w.silences = map[string]Silence{}
	}
	w.silences[node] = Silence{Node: node, From: time.Now()}
}

// Audible notes that they can hear it again.
func (w *Witness) Audible(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.silences[node]; ok {
		s.To = time.Now()
		w.silent = append(w.silent, s)
		delete(w.silences, node)
	}
}

// Stays returns all that was seen so far, in no order.
func (w *Witness) Stays() []Stay {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append([]Stay(nil), w.closed...)
	for _, s := range w.open {
		all = append(all, s)
	}
	return all
}

// Verdict judges what was seen, and says how much that was. It is an error to
// have seen nothing.
func (w *Witness) Verdict() (string, error) {
	stays := w.Stays()
	w.mu.Lock()
	silences, looks := append([]Silence(nil), w.silent...), w.looks
	for _, s := range w.silences {
		s.To = time.Now()
		silences = append(silences, s)
	}
	w.mu.Unlock()
	if len(stays) == 0 {
		return "", fmt.Errorf("the witness saw no address in %d looks", looks)
	}
	var errs []error
	for _, twice := range Judge(stays, silences) {
		errs = append(errs, twice)
	}
	addrs := map[netip.Addr]bool{}
	for _, s := range stays {
		addrs[s.Addr] = true
	}
	return fmt.Sprintf("%d stays of %d addresses in %d looks", len(stays), len(addrs), looks), errors.Join(errs...)
}
