// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the cache is named after is what the modules pin.
func TestVersionsAreThosePinned(t *testing.T) {
	modules := map[string]string{"kubernetes": "k8s.io/kubernetes ", "coredns": "github.com/coredns/coredns "}
	for _, p := range (&Paths{}).all() {
		data, err := os.ReadFile(filepath.Join("..", "binaries", filepath.Base(p.Module), "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if want := modules[filepath.Base(p.Module)] + p.Version; !strings.Contains(string(data), want) {
			t.Errorf("%s: %s/go.mod does not require %s", p.Name, p.Module, want)
		}
	}
}
