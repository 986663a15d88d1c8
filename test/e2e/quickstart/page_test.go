// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package quickstart

import (
	"reflect"
	"testing"
)

const example = "# A page\n" +
	"```console\n$ one     # said\n$ two <<'EOF'\nof it\n$ not a command\nEOF\nNAME   AGE\n\nhost1  5s\n```\n" +
	"```yaml\n$ no\n```\n$ no\n" +
	"## Next\n```console\n$ three\nerror: no\n```\n## Last\n```console\n$ four\n```\n"

func TestSteps(t *testing.T) {
	want := []step{
		{where: "p:3", command: "one     # said"},
		{where: "p:4", command: "two <<'EOF'\nof it\n$ not a command\nEOF", shown: []string{"NAME   AGE", "host1  5s"}},
		{where: "p:18", command: "three", shown: []string{"error: no"}},
		{where: "p:23", command: "four"},
	}
	got := steps("p", example)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if got[1].refused() || !got[2].refused() {
		t.Error("which are refused")
	}
	body, found := section(example, "Next")
	if all := steps("p", body); !found || len(all) != 1 || all[0].command != "three" {
		t.Errorf("section: %v %q", found, all)
	}
	if _, found := section(example, "Nowhere"); found {
		t.Error("a section that is not there")
	}
}

func TestMissing(t *testing.T) {
	printed := "warning\nNAME    AGE   IP\nhost1   1m12s 10.32.4.7\nhost2   3d    10.32.9.1 more\n"
	for _, c := range []struct {
		shown []string
		want  string
	}{
		{nil, ""},
		{[]string{"NAME AGE IP", "host1 7s 10.32.255.1"}, ""},
		{[]string{"host1 7s 10.32.255.1", "NAME AGE IP"}, "NAME AGE IP"},
		{[]string{"host2 3d 10.32.9.1"}, "host2 3d 10.32.9.1"},
		{[]string{"host2 3d 10.32.9.1 …"}, ""},
		{[]string{"host3 …"}, "host3 …"},
		{[]string{"host1 7s 192.168.77.1"}, "host1 7s 192.168.77.1"},
	} {
		if got := missing(c.shown, printed); got != c.want {
			t.Errorf("%q: misses %q, want %q", c.shown, got, c.want)
		}
	}
}
