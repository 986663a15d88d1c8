// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// As proc(5) has them: of version 1, of both, and of version 2.
const (
	legacy = `30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,release_agent=/lib/systemd/systemd-cgroups-agent,name=systemd
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:5 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:6 - cgroup cgroup rw,memory
`
	hybrid  = legacy + "34 30 0:30 / /sys/fs/cgroup/unified rw shared:7 - cgroup2 cgroup2 rw\n"
	unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
)

func TestHierarchiesAreChosenAsKubeletsDo(t *testing.T) {
	for _, c := range []struct {
		name, mounts string
		controllers  []string
		want         []string
		suffices     bool
	}{
		{"version 1", legacy, nil, []string{"systemd name=systemd", "cpu,cpuacct cpu,cpuacct", "memory memory"}, true},
		{"version 1, mounted twice", legacy + strings.ReplaceAll(legacy, "/sys/fs", "/mnt/fs"), nil, []string{"systemd name=systemd", "cpu,cpuacct cpu,cpuacct", "memory memory"}, true},
		{"both, version 2 with little", hybrid, []string{"hugetlb"}, []string{"systemd name=systemd", "cpu,cpuacct cpu,cpuacct", "memory memory"}, true},
		{"version 2", unified, []string{"cpu", "memory", "pids"}, []string{"unified /sys/fs/cgroup"}, true},
		{"none", "", nil, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := parseHierarchies(strings.NewReader(c.mounts), func(string) []string { return c.controllers })
			var got []string
			for _, one := range h.v1 {
				got = append(got, one.Name+" "+one.Options)
			}
			if h.unified != "" {
				got = append(got, "unified "+h.unified)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
			if err := h.suffice(); (err == nil) != c.suffices {
				t.Errorf("do they suffice? %v", err)
			}
		})
	}
}
