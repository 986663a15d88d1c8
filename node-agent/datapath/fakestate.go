// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"slices"
)

// errRefused is what the kernel would refuse with.
var errRefused = errors.New("refused")

// apply does to a state what the kernel would do, and refuses what it would.
func (s *state) apply(x step) error {
	switch x.op {
	case filterReplace:
		f := x.filter.union(filter{})
		s.filter = &f
	case filterShrink, filterGrow:
		return s.applyFilter(x)
	case deviceDelete:
		if s.device == nil {
			return errRefused
		}
		*s = s.without(s.device.name)
		s.device = nil
	case deviceCreate:
		if s.device != nil {
			return errRefused
		}
		d := x.device
		s.device = &d
	case deviceChange:
		if s.device == nil || !s.device.becomes(x.device) {
			return errRefused
		}
		if s.device.mac != x.device.mac {
			s.neighbours = nil
		}
		d := x.device
		s.device = &d
	case routeAdd, routeReplace, routeDelete:
		return s.applyRoute(x)
	default:
		return s.applyToDevice(x)
	}
	return nil
}

func (s *state) applyFilter(x step) error {
	if s.filter == nil {
		return errRefused
	}
	for i, d := range s.filter.after(x.change).direct {
		// A set of intervals holds no two that overlap.
		others := slices.Delete(slices.Clone(s.filter.after(x.change).direct), i, i+1)
		if d.within(others) {
			return fmt.Errorf("%w: %s overlaps another", errRefused, d)
		}
	}
	s.filter = s.filter.after(x.change)
	return nil
}

func (s *state) applyRoute(x step) error {
	r := x.route
	at := slices.IndexFunc(s.routes, func(o route) bool { return o.key() == r.key() })
	switch {
	case x.op == routeDelete && at >= 0:
		s.routes = slices.Delete(slices.Clone(s.routes), at, at+1)
		return nil
	case (x.op == routeAdd) == (at >= 0):
		return errRefused
	case s.device != nil && r.dev == s.device.name && !s.device.up:
		return fmt.Errorf("%w: device is down", errRefused)
	case s.device == nil && r.onlink:
		return fmt.Errorf("%w: no such device", errRefused)
	}
	s.routes = slices.Clone(s.routes)
	if at >= 0 {
		s.routes[at] = r
	} else {
		s.routes = append(s.routes, r)
	}
	return nil
}

// applyToDevice does the steps that need the VXLAN device.
func (s *state) applyToDevice(x step) error {
	if s.device == nil {
		return fmt.Errorf("%w: no device", errRefused)
	}
	switch x.op {
	case addressAdd:
		s.addresses = append(slices.Clone(s.addresses), x.address)
	case addressDelete:
		s.addresses, _ = difference(s.addresses, append(s.addresses[:0:0], x.address))
		// As the kernel does: routes that name it as source go with it.
		s.routes = slices.DeleteFunc(slices.Clone(s.routes), func(r route) bool { return r.src == x.address })
	case forwardSet:
		s.forwards = slices.DeleteFunc(slices.Clone(s.forwards), func(f forward) bool { return f.mac == x.forward.mac })
		s.forwards = append(s.forwards, x.forward)
	case forwardDelete:
		s.forwards, _ = difference(s.forwards, []forward{x.forward})
	case neighbourSet:
		s.neighbours = slices.DeleteFunc(slices.Clone(s.neighbours), func(n neighbour) bool { return n.addr == x.neighbour.addr })
		s.neighbours = append(s.neighbours, x.neighbour)
	case neighbourDel:
		s.neighbours, _ = difference(s.neighbours, []neighbour{x.neighbour})
	default:
		return fmt.Errorf("unknown step %q", x.op)
	}
	return nil
}
