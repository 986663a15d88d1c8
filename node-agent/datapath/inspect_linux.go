// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"

	"github.com/google/nftables"
)

// Inspection is what only this package can say of a kernel.
type Inspection struct {
	// Attachments are all pod interfaces, the dying ones included.
	Attachments []Attachment
	// Lacking are features that can be done without, and what that means.
	Lacking []string
	// Filter is why the filters cannot be at all, or nil.
	Filter error
}

// Inspect looks at the kernel of the caller's network namespace, beside an
// agent that runs there or without one. It changes nothing that stays: features
// are tried out in tables that are gone with the same transaction.
func Inspect(opts Options) (Inspection, error) {
	var seen Inspection
	opts, err := opts.withDefaults()
	if err != nil {
		return seen, err
	}
	s, err := openSocket()
	if err != nil {
		return seen, err
	}
	defer s.close()
	links, err := s.links("veth")
	if err != nil {
		return seen, explainPermission(err)
	}
	for _, l := range links {
		if a, ours := opts.attachment(l); ours && len(a.Addresses) > 0 {
			seen.Attachments = append(seen.Attachments, a)
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return seen, fmt.Errorf("opening nftables: %w", err)
	}
	n := &nft{conn: conn, opts: opts, table: &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}}
	if err := n.probe([]part{{kind: partNoWayBack}}); err != nil {
		seen.Filter = n.explainFilter(err)
		return seen, nil
	}
	seen.Lacking = lacking{
		notrack:    n.probe([]part{{kind: partNotrack}}) != nil,
		masquerade: n.probe([]part{{kind: partMasquerade}}) != nil,
		direct:     opts.direct() && n.probeSet() != nil,
	}.texts()
	return seen, nil
}
