// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"slices"
	"strings"
	"testing"
)

// TestRemove: a host that has left has nothing of ours, and may join again.
func TestRemove(t *testing.T) {
	l := newLab(t, 2, families{"", "46", "46"}, Options{})
	one := l.hosts[0]
	one.set(l.hosts...)
	one.pod(1)
	one.run("ip link add svforeign type veth peer name other")
	for range 2 { // and nothing to remove is no error
		if err := one.k.Remove(); err != nil {
			t.Fatal(err)
		}
		left := one.run("ip route show proto 115") + one.run("ip -6 route show proto 115") + one.run("ip -o link")
		if strings.Contains(left, "115") || strings.Contains(left, "selvage0") || strings.Count(left, ": sv") != 1 {
			t.Errorf("there is still\n%s", left)
		}
	}
	n, err := one.k.nft(one.k.options())
	if err != nil {
		t.Fatal(err)
	}
	tables, err := n.conn.ListTables()
	if err != nil || slices.ContainsFunc(tables, func(x *nftablesTable) bool { return x.Name == tableName }) {
		t.Errorf("the table is still there: %v", err)
	}
	one.set(l.hosts...)
	one.pod(2)
}
