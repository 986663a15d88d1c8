// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package membership

import "slices"

// Fingerprint tells machines apart, so that a cloned disk contends instead of
// resuming.
type Fingerprint struct {
	// DMI is the machine's uuid; empty where firmware gives none.
	DMI string `json:"dmi,omitempty"`
	// NICs are the hardware addresses of its network interfaces, sorted.
	NICs []string `json:"nics,omitempty"`
}

// IsZero reports whether nothing is known.
func (f Fingerprint) IsZero() bool { return f.DMI == "" && len(f.NICs) == 0 }

// Same reports whether both may be one machine: no uuid speaks against it, and
// at least one interface is the same. An interface may be replaced or added.
func (f Fingerprint) Same(other Fingerprint) bool {
	if f.DMI != "" && other.DMI != "" && f.DMI != other.DMI {
		return false
	}
	if len(f.NICs) == 0 || len(other.NICs) == 0 {
		return true
	}
	return slices.ContainsFunc(f.NICs, func(mac string) bool { return slices.Contains(other.NICs, mac) })
}
