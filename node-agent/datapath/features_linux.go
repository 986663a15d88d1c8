// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// errNoSourceCheck is why nothing works without nftables' fib.
var errNoSourceCheck = errors.New("this kernel's nftables cannot check sources against the routes (CONFIG_NFT_FIB_INET): " +
	"without it a pod could speak in another's name; build or load the modules nft_fib_inet, nft_fib_ipv4 and nft_fib_ipv6")

// probeTable is where features are tried out, in chains that no packet visits.
const probeTable = "selvage-probe"

// findLacking looks, after a failure, for features that the kernel lacks. It
// says whether anything was found that can be done without.
func (k *Kernel) findLacking(r *reading, failure error) (lacking, bool) {
	if failure == nil || r == nil || !(errors.Is(failure, unix.EOPNOTSUPP) || errors.Is(failure, unix.ENOENT) || errors.Is(failure, unix.EINVAL)) {
		return lacking{}, false
	}
	before := r.opts.lacks
	found := before
	found.notrack = r.filters.probe([]part{{kind: partNotrack}}) != nil
	found.masquerade = r.filters.probe([]part{{kind: partMasquerade}}) != nil
	found.direct = r.filters.probeSet() != nil
	k.lacks.Store(&found)
	texts := found.texts()
	k.missing.Store(&texts)
	return found, found != before
}

// probe tries a rule in a chain that is on no packet's way.
func (n *nft) probe(parts []part) error {
	table := n.conn.AddTable(&nftables.Table{Name: probeTable, Family: nftables.TableFamilyINet})
	chain := n.conn.AddChain(&nftables.Chain{Name: "probe", Table: table})
	n.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule{parts: parts}.expressions(nil)})
	n.conn.DelTable(table)
	return n.conn.Flush()
}

// probeSet tries a set of ranges with hardware addresses.
func (n *nft) probeSet() error {
	table := n.conn.AddTable(&nftables.Table{Name: probeTable, Family: nftables.TableFamilyINet})
	set := setOf(table, directSet, false)
	set.ID = 1
	if err := n.conn.AddSet(set, nil); err != nil {
		return err
	}
	n.conn.DelTable(table)
	return n.conn.Flush()
}

// explainFilter says what a refused filter lacks.
func (n *nft) explainFilter(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("this kernel has no nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET): load or build the module nf_tables: %w", err)
	case n.probe([]part{{kind: partNoWayBack}}) != nil:
		return errors.Join(errNoSourceCheck, err)
	default:
		return err
	}
}
