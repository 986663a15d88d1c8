// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"
)

// validate refuses what would be a caller's mistake, not a peer's: that is left
// out and reported by goalOf.
func (d Desired) validate() error {
	var errs []error
	for _, a := range d.Underlay {
		errs = append(errs, validUnderlay(a))
	}
	if len(d.HostAddresses) > 0 {
		if err := validAddresses(d.HostAddresses); err != nil {
			errs = append(errs, fmt.Errorf("host addresses: %w", err))
		}
	}
	errs = append(errs, validPrefixes("range", d.Own), validPrefixes("pool", d.Pools))
	return errors.Join(errs...)
}

// validate refuses a peer whose report cannot be used.
func (r Remote) validate() error {
	errs := []error{validPrefixes("range", r.Ranges)}
	for _, a := range r.Underlay {
		errs = append(errs, validUnderlay(a))
	}
	return errors.Join(errs...)
}

func validUnderlay(a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() || !a.IsGlobalUnicast() {
		return fmt.Errorf("%s cannot be an underlay address: it must be one that other hosts can reach", a)
	}
	return nil
}

func validPrefixes(what string, prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Bits() == 0 {
			return fmt.Errorf("%s is not a %s: want a network address and a length above 0", p, what)
		}
	}
	return nil
}
