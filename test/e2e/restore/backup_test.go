// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package restore

import (
	"os/exec"
	"path/filepath"
)

// backup copies etcd's data while etcd is stopped for a moment. Everything else
// goes on.
func (s *stage) backup() {
	s.Helper()
	s.Plane.Etcd.Stop()
	s.copyData(filepath.Join(s.Plane.Dir, "etcd"), filepath.Join(s.dir, "backup"))
	s.must(s.Plane.Etcd.Start(s.Context()))
}

// restore puts the backup in the place of what etcd has, and starts the API
// servers anew, since they remember what was. Agents and controllers run all
// along.
func (s *stage) restore() {
	s.Helper()
	for _, server := range s.Servers {
		server.Kill()
	}
	s.Plane.Etcd.Kill()
	data := filepath.Join(s.Plane.Dir, "etcd")
	s.copyData(filepath.Join(s.dir, "backup"), data)
	s.must(s.Plane.Etcd.Start(s.Context()))
	for _, server := range s.Servers {
		s.must(server.Start(s.Context()))
	}
	s.Logf("%7.1f s: etcd is as it was", s.Now().Seconds())
}

// copyData makes to what from is.
func (s *stage) copyData(from, to string) {
	s.Helper()
	if out, err := exec.Command("sh", "-c", `rm -rf "$2" && cp -a "$1" "$2"`, "sh", from, to).CombinedOutput(); err != nil {
		s.Fatalf("copying etcd's data: %v: %s", err, out)
	}
}
