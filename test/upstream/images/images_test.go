// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package images

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/selvage-net/selvage/test/upstream/programs"
)

// The names are those of the upstream sources that the tests are built from.
func TestNamesAreUpstreams(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-mod=readonly", "-f", "{{.Dir}}", "k8s.io/kubernetes/test/utils/image")
	list.Dir = "../binaries/kubernetes"
	dir, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := exec.CommandContext(t.Context(), "cat", strings.TrimSpace(string(dir))+"/manifest.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`Config\{list\.\w+, "([^"]+)", "([^"]+)"\}`).FindAllStringSubmatch(string(data), -1) {
		named[m[1]+":"+m[2]] = true
	}
	for _, r := range recipes(programs.Paths{}) {
		name := r.ref[strings.LastIndex(r.ref, "/")+1:]
		if r.ref != CoreDNS && !named[name] {
			t.Errorf("upstream names no image %s", name)
		}
	}
}
