// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Remove takes away all that is ours in the kernel: the pods' interfaces, the
// routes, the tunnel device, and last the filters. It is for a host that has
// left the network; whatever is Set or attached later is made anew.
func (k *Kernel) Remove() error {
	k.set.Lock()
	defer k.set.Unlock()
	k.repair.Lock() // no pod comes or goes meanwhile
	defer k.repair.Unlock()
	return k.do(func(w *worker) error {
		err := errors.Join(k.removeLinks(w.host), removeRoutes(w.host))
		if err != nil {
			return err
		}
		n, err := k.nft(k.options())
		if err != nil {
			return err
		}
		n.conn.AddTable(n.table) // or deleting it would fail if there is none
		n.conn.DelTable(n.table)
		if err := n.conn.Flush(); err != nil {
			return fmt.Errorf("removing the filters: %w", n.explainFilter(err))
		}
		return nil
	})
}

// removeLinks deletes the pods' interfaces, and the tunnel device with its
// addresses, routes and neighbours.
func (k *Kernel) removeLinks(s *socket) error {
	links, err := s.links("")
	if err != nil {
		return err
	}
	for _, l := range links {
		if _, ours := k.opts.attachment(l); !ours && (l.name != k.opts.Device || l.kind != "vxlan") {
			continue
		}
		if err := s.deleteLink(l.index); err != nil {
			return fmt.Errorf("deleting interface %s: %w", l.name, err)
		}
	}
	return nil
}

// removeRoutes deletes what did not go with a device.
func removeRoutes(s *socket) error {
	routes, err := s.routes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if err := s.send(routeMessage(unix.RTM_DELROUTE, 0, r).unless(unix.ESRCH)); err != nil {
			return fmt.Errorf("removing the route to %s: %w", r.dst, err)
		}
	}
	return nil
}
