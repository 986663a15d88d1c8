// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestStartsFast: what the plugin links is part of every pod's start-up. These
// packages prepare themselves when a process starts, or bring others that do.
func TestStartsFast(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	heavy := map[string]bool{"fmt": true, "os": true, "net": true, "net/http": true, "encoding/json": true, "reflect": true, "time": true, "context": true}
	for _, name := range strings.Fields(string(out)) {
		if heavy[name] || strings.HasPrefix(name, "github.com/containernetworking") {
			t.Errorf("the plugin links %s", name)
		}
	}
}
