// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// texts are licences as they come: those of modules that this one is built with.
func licenceText(t *testing.T, id string) string {
	t.Helper()
	for _, l := range everything(t) {
		if len(l.ids) == 1 && l.ids[0] == id {
			return l.text
		}
	}
	t.Fatalf("nothing here is %s", id)
	return ""
}

func everything(t *testing.T) []licence {
	t.Helper()
	found, err := scan(t.Context(), []string{"../../cmd/..."})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestScan: each module that a program names in itself has a licence here, and
// so has Go.
func TestScan(t *testing.T) {
	found := everything(t)
	modules := map[string][]string{}
	for _, l := range found {
		modules[l.module] = append(modules[l.module], l.file)
		if len(l.ids) == 0 || l.text == "" {
			t.Errorf("%s: %s says nothing", l.module, l.file)
		}
	}
	for _, module := range []string{"Go: its runtime and standard library", "github.com/vishvananda/netlink", "k8s.io/client-go", "sigs.k8s.io/yaml"} {
		if len(modules[module]) == 0 {
			t.Errorf("nothing about %s", module)
		}
	}
	// Code that a module took over from others.
	if files := modules["github.com/moby/spdystream"]; !slices.Equal(files, []string{"LICENSE", "spdy/LICENSE"}) {
		t.Errorf("of spdystream: %v", files)
	}
	for module := range modules {
		if strings.Contains(module, "selvage") || strings.Contains(module, "ginkgo") {
			t.Errorf("%s is ours, or in no program", module)
		}
	}
	if !strings.Contains(textsOf(found), "Copyright") || strings.Count(pageOf(found), "\n| ") != len(found)+2 {
		t.Error("texts or page are not whole")
	}
	if !strings.Contains(textsOf(found), "Prometheus instrumentation library for Go applications") {
		t.Error("a NOTICE is left out")
	}
}

// TestRefused: no licence, an unknown one, and one that is not allowed.
func TestRefused(t *testing.T) {
	mit := licenceText(t, "MIT")
	for name, c := range map[string]struct{ file, text, want string }{
		"allowed":      {"LICENSE.md", mit, ""},
		"by its name":  {"COPYING", mit, ""},
		"none":         {"README", mit, "no licence file"},
		"code":         {"license.go", mit, "no licence file"},
		"unknown":      {"LICENSE", "You may look, and that is all that you may.", "of it is a known licence"},
		"mostly other": {"LICENSE", mit + strings.Repeat("And a third of what you earn with it is ours. ", 60), "of it is a known licence"},
		"copyleft":     {"LICENSE", agpl, "AGPL-3.0-or-later is not among"},
		"second":       {"LICENSE", mit + "\n\n" + agpl, "AGPL-3.0-or-later is not among"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			below := filepath.Join(top, "pkg", "deep")
			if err := os.MkdirAll(below, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(top, c.file), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			path, err := nearest(below, top)
			if err == nil {
				_, err = read(path)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// agpl is how one may say that a program is under it.
const agpl = `This program is free software: you can redistribute it and/or modify it under the terms of the GNU Affero
General Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option)
any later version. This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even
the implied warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See the GNU Affero General Public License for
more details. You should have received a copy of the GNU Affero General Public License along with this program. If not,
see <https://www.gnu.org/licenses/>.`
