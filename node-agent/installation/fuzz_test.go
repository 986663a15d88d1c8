// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzChain: whatever configuration somebody hands in, what is installed is
// JSON with a list of plugins that the node has, and no path is followed out of
// the directory of plugins.
func FuzzChain(f *testing.F) {
	f.Add([]byte(plainConflist))
	f.Add([]byte(`{"plugins":[{"type":"../../sbin/x"},{"type":"selvage"}],"cniVersions":["1.1.0",7]}`))
	f.Add([]byte(`{"plugins":[null,1,"x",{}],"cniVersions":{}}`))
	f.Add([]byte(`[]`))
	dir := f.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		f.Fatal(err)
	}
	// Beside the directory of plugins: to be left alone.
	ran := filepath.Join(dir, "ran")
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("#!/bin/sh\n: >"+ran+"\n"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"plugins":[{"type":"../x"}]}`))
	file := filepath.Join(dir, "conflist")
	f.Fuzz(func(t *testing.T, conflist []byte) {
		if err := os.WriteFile(file, conflist, 0o600); err != nil {
			t.Fatal(err)
		}
		made, absent, err := (&Installation{BinDir: bin, Conflist: file}).chain()
		if _, followed := os.Stat(ran); followed == nil {
			t.Fatal("a program beside the directory of plugins was run")
		}
		if err != nil {
			if !strings.Contains(err.Error(), "--cni-conflist") {
				t.Errorf("the error does not say what to mend: %v", err)
			}
			return
		}
		var list struct {
			Plugins []struct{ Type string }
		}
		if err := json.Unmarshal(made, &list); err != nil {
			t.Fatalf("installed %q: %v", made, err)
		}
		for _, p := range list.Plugins {
			if p.Type != pluginName {
				t.Errorf("the node has no plugin but its own, and %q is installed; absent are %q", p.Type, absent)
			}
		}
	})
}
