// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vulncheck tests vulncheck.sh, with the real govulncheck.
package vulncheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerdicts: what is found fails, and so does a copy of the database that
// is not there; a database out of reach does not, but is heard of.
func TestVerdicts(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Join(here, "..", "..")
	govulncheck := filepath.Join(top, "bin", "tools", "govulncheck")
	if said, err := exec.CommandContext(t.Context(), "make", "-C", top, govulncheck).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	// Nobody listens on the loopback's first port.
	const away = "HTTPS_PROXY=http://127.0.0.1:1"
	const loud = "VULNERABILITIES WERE NOT CHECKED"
	for name, c := range map[string]struct {
		env  []string
		code int
		want string
		loud bool
	}{
		"found":               {env: []string{"VULNDB=file://" + filepath.Join(here, "testdata", "database")}, code: 3, want: "GO-2026-9999"},
		"nothing known":       {env: []string{"VULNDB=file://" + filepath.Join(here, "testdata", "empty")}, want: "No vulnerabilities found"},
		"out of reach":        {env: []string{away}, want: "proxyconnect", loud: true},
		"out of reach, asked": {env: []string{away, "VULNCHECK=required"}, code: 1, want: "proxyconnect", loud: true},
		"no such copy":        {env: []string{"VULNDB=file:///nowhere"}, code: 1, want: "/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), filepath.Join(here, "vulncheck.sh"), govulncheck, ".")
			cmd.Dir = filepath.Join("testdata", "module")
			cmd.Env = append(os.Environ(), append([]string{"VULNDB=", "VULNCHECK=", "NO_PROXY=", "no_proxy="}, c.env...)...)
			said, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d: %v", code, c.code, err)
			}
			if !strings.Contains(string(said), c.want) || strings.Contains(string(said), loud) != c.loud {
				t.Errorf("it says\n%s\nwant %q, loud %t", said, c.want, c.loud)
			}
		})
	}
}
